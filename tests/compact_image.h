// The compact image of a policy's weights (abi.h), made in another way than the runtime makes it.
#pragma once
#include "abi.h"

// malloc'ed; NULL: the policy has none. Scales differ from group to group, so that some groups have no image.
unsigned char *compact_image(const nfcc_model_header *h);
