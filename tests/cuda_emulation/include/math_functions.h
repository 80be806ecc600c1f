#pragma once
#include "cuda_emulation/device_math.hpp"
