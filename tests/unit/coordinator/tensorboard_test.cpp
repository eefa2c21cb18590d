#include "coordinator/tensorboard.h"

#include <gtest/gtest.h>

#include "tensorboard.pb.h"

namespace musher {
namespace {

// RFC 3720, appendix B.4.
TEST(Crc32c, KnownValues) {
  EXPECT_EQ(crc32c("123456789"), 0xe3069283U);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aaU);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43U);
  EXPECT_EQ(crc32c(""), 0U);
}

// As TensorFlow's own writer has it.
TEST(TfRecord, LengthChecksumBytesChecksum) {
  const std::string record = tfrecord("foo");
  ASSERT_EQ(record.size(), 8U + 4 + 3 + 4);
  EXPECT_EQ(record.substr(0, 8), std::string("\x03\0\0\0\0\0\0\0", 8));
  EXPECT_EQ(record.substr(12, 3), "foo");
}

TEST(TensorboardEvents, AVersionAndThenAScalarAValue) {
  v1::Metric metric;
  metric.set_name("train:loss");
  metric.set_value(0.5);
  metric.set_step(7);
  metric.set_time_ms(1'700'000'000'500);
  const std::string file = tensorboard_events({metric}, 1'700'000'000'000);
  const std::uint8_t first = static_cast<std::uint8_t>(file[0]);
  tensorboard::Event version;
  ASSERT_TRUE(version.ParseFromString(file.substr(12, first)));
  EXPECT_EQ(version.file_version(), "brain.Event:2");
  tensorboard::Event event;
  const std::string rest = file.substr(16U + first);
  ASSERT_TRUE(event.ParseFromString(rest.substr(12, static_cast<std::uint8_t>(rest[0]))));
  EXPECT_EQ(event.step(), 7);
  EXPECT_DOUBLE_EQ(event.wall_time(), 1'700'000'000.5);
  EXPECT_EQ(event.summary().value(0).tag(), "train:loss");
  EXPECT_EQ(event.summary().value(0).simple_value(), 0.5F);
  EXPECT_EQ(tensorboard_file_name(1'700'000'000'999), "events.out.tfevents.1700000000.musher");
}

}  // namespace
}  // namespace musher
