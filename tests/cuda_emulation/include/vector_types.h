#pragma once
#include "cuda_emulation/vector_types.hpp"
