#include "trainer/event_file.h"

#include <array>
#include <bit>
#include <cstring>

namespace tern {
namespace {

constexpr std::array<uint32_t, 256> MakeTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ (value & 1 ? 0x82f63b78u : 0u);
    table[i] = value;
  }
  return table;
}
constexpr std::array<uint32_t, 256> kTable = MakeTable();

template <class T>
std::string LittleEndian(T value) {
  static_assert(std::endian::native == std::endian::little);
  std::string bytes(sizeof(value), '\0');
  std::memcpy(bytes.data(), &value, sizeof(value));
  return bytes;
}

std::string Varint(uint64_t value) {
  std::string bytes;
  for (; value >= 128; value >>= 7) bytes.push_back(static_cast<char>(value | 128));
  bytes.push_back(static_cast<char>(value));
  return bytes;
}

// Protocol buffers: a key of field number and wire type before each value.
constexpr uint64_t kVarint = 0, kDouble = 1, kBytes = 2, kFloat = 5;
std::string Key(uint64_t field, uint64_t type) { return Varint(field << 3 | type); }
std::string BytesField(uint64_t field, std::string_view bytes) {
  return Key(field, kBytes) + Varint(bytes.size()) + std::string(bytes);
}
std::string WallTime(double seconds) { return Key(1, kDouble) + LittleEndian(seconds); }

std::string Record(const std::string& data) {
  const std::string length = LittleEndian(static_cast<uint64_t>(data.size()));
  return length + LittleEndian(MaskedCrc32c(length)) + data + LittleEndian(MaskedCrc32c(data));
}

}  // namespace

uint32_t Crc32c(std::string_view bytes) {
  uint32_t crc = ~0u;
  for (char c : bytes) crc = (crc >> 8) ^ kTable[(crc ^ static_cast<uint8_t>(c)) & 0xff];
  return ~crc;
}

uint32_t MaskedCrc32c(std::string_view bytes) { return std::rotr(Crc32c(bytes), 15) + 0xa282ead8u; }

std::string EventFileHeader(double wall_time) {
  return Record(WallTime(wall_time) + BytesField(3, "brain.Event:2"));
}

std::string EventRecord(double wall_time, uint64_t step, const Scalars& scalars) {
  std::string summary;
  for (const auto& [tag, value] : scalars) {
    summary += BytesField(
        1, BytesField(1, tag) + Key(2, kFloat) + LittleEndian(static_cast<float>(value)));
  }
  return Record(WallTime(wall_time) + Key(2, kVarint) + Varint(step) + BytesField(5, summary));
}

}  // namespace tern
