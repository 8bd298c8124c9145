// Order of lanes: see lane_order.h.
#include "lane_order.h"

bool lanes_in_order(LaneRef a, LaneRef b) { return lane_same(a, b); }
