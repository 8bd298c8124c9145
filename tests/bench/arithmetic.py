"""What arrays of every library write alike. Apart from flows.py, so that the engines are listed without NumPy."""


class Arithmetic:
    def add(self, a, b): return a + b
    def sub(self, a, b): return a - b
    def mul(self, a, b): return a * b
    def div(self, a, b): return a / b
    def neg(self, a): return -a
    def scale(self, a, c): return a * c
    def shift(self, a, c): return a + c
    def constant(self, name): return self.p[name]
    def sum(self, a): return a.sum(1)
    def picture(self, a, channels, side): return a.reshape(-1, channels, side, side)
    def mean_of_places(self, a): return a.mean((2, 3))
