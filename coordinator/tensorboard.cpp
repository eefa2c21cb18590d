#include "coordinator/tensorboard.h"

#include <array>

#include <fmt/format.h>

#include "tensorboard.pb.h"

namespace musher {
namespace {

constexpr std::uint32_t kCastagnoli = 0x82f63b78;  // the polynomial, its lowest bit first

constexpr std::array<std::uint32_t, 256> make_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < table.size(); ++byte) {
    std::uint32_t rest = byte;
    for (int bit = 0; bit < 8; ++bit) rest = (rest >> 1) ^ ((rest & 1) != 0 ? kCastagnoli : 0);
    table[byte] = rest;
  }
  return table;
}

constexpr std::array<std::uint32_t, 256> kTable = make_table();

/// So that the checksum of bytes that hold their checksum is not a constant.
std::uint32_t masked(std::uint32_t checksum) {
  return ((checksum >> 15) | (checksum << 17)) + 0xa282ead8U;
}

template <typename Number>
std::string little_endian(Number value) {
  std::string bytes;
  for (std::size_t i = 0; i < sizeof value; ++i) {
    bytes += static_cast<char>(value >> (8 * i) & 0xff);
  }
  return bytes;
}

}  // namespace

std::uint32_t crc32c(const std::string& bytes) {
  std::uint32_t rest = ~0U;
  for (const char c : bytes) {
    rest = (rest >> 8) ^ kTable[(rest ^ static_cast<unsigned char>(c)) & 0xff];
  }
  return ~rest;
}

std::string tfrecord(const std::string& bytes) {
  const std::string length = little_endian(static_cast<std::uint64_t>(bytes.size()));
  return length + little_endian(masked(crc32c(length))) + bytes +
         little_endian(masked(crc32c(bytes)));
}

std::string tensorboard_events(const std::vector<v1::Metric>& metrics, std::int64_t start_ms) {
  tensorboard::Event version;
  version.set_wall_time(static_cast<double>(start_ms) / 1000);
  version.set_file_version("brain.Event:2");
  std::string file = tfrecord(version.SerializeAsString());
  for (const v1::Metric& metric : metrics) {
    tensorboard::Event event;
    event.set_wall_time(static_cast<double>(metric.time_ms()) / 1000);
    event.set_step(static_cast<std::int64_t>(metric.step()));
    tensorboard::Summary::Value& value = *event.mutable_summary()->add_value();
    value.set_tag(metric.name());
    value.set_simple_value(static_cast<float>(metric.value()));
    file += tfrecord(event.SerializeAsString());
  }
  return file;
}

std::string tensorboard_file_name(std::int64_t start_ms) {
  return fmt::format("events.out.tfevents.{:010}.musher", start_ms / 1000);
}

}  // namespace musher
