// TensorBoard's event files: a TFRecord file of Event messages with scalars.
//
//   record  u64 length n, u32 MaskedCrc32c of these 8 bytes, n bytes, u32 MaskedCrc32c of them
//   Event   1 wall_time double, 2 step int64, 3 file_version string, 5 summary {1 value {1 tag
//           string, 2 simple_value float}}
//
// After tensorflow/core/lib/io/record_writer.cc and tensorflow/core/util/event.proto.
#ifndef TERN_TRAINER_EVENT_FILE_H_
#define TERN_TRAINER_EVENT_FILE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tern {

using Scalars = std::vector<std::pair<std::string, double>>;

// CRC-32C (Castagnoli), as in RFC 3720, appendix B.4.
uint32_t Crc32c(std::string_view bytes);
// Rotated and shifted, since checksums are taken of data that hold checksums.
uint32_t MaskedCrc32c(std::string_view bytes);

// The record that begins a file, at seconds since 1970.
std::string EventFileHeader(double wall_time);
std::string EventRecord(double wall_time, uint64_t step, const Scalars& scalars);

}  // namespace tern

#endif  // TERN_TRAINER_EVENT_FILE_H_
