#pragma once
#include "cuda_emulation/launch.hpp"
#include "cuda_emulation/runtime_api.hpp"
