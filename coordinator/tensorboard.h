#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "workers.pb.h"

namespace musher {

/// A job's metrics as TensorBoard reads them: one event file, a scalar a value, tagged with the
/// metric's name. `start_ms`: when the job was created, since the epoch. The file is TFRecords of
/// Event messages (proto/tensorboard.proto); TensorFlow, "TFRecord format", and
/// tensorflow/core/util/event.proto. Pure.
std::string tensorboard_events(const std::vector<v1::Metric>& metrics, std::int64_t start_ms);

/// `events.out.tfevents.<10 digits of seconds>.musher`: TensorBoard goes by the second and third
/// word.
std::string tensorboard_file_name(std::int64_t start_ms);

/// One record: its length, that number's checksum, the bytes, their checksum; little-endian.
std::string tfrecord(const std::string& bytes);

/// CRC-32C (Castagnoli; RFC 3720, appendix B.4).
std::uint32_t crc32c(const std::string& bytes);

}  // namespace musher
