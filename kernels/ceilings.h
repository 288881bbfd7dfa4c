// What a machine can do at most, measured with loops that do nothing else: the floors that a pass
// is held against.
#ifndef TERN_KERNELS_CEILINGS_H_
#define TERN_KERNELS_CEILINGS_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace tern {

// Reads `memory` once, a contiguous piece per thread, and returns a number that depends on every
// byte, so that no read can be left out. 64-byte aligned; time it over memory that no cache holds.
uint64_t ReadOnce(std::span<const uint8_t> memory);

// Multiplies and adds int8 pairs on every thread as the integer kernels do, `steps` times, from
// registers and the nearest cache. Returns how many products all threads did.
size_t MultiplyIntegers(size_t steps);

}  // namespace tern

#endif  // TERN_KERNELS_CEILINGS_H_
