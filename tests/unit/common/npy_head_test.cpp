#include "common/npy_head.h"

#include <gtest/gtest.h>

#include "support/expect_error.h"

namespace musher {
namespace {

using test::expect_error;

/// A file of the version, with this dict and nothing behind it.
std::string npy(const std::string& dict, int version = 1) {
  std::string bytes = "\x93NUMPY";
  bytes += static_cast<char>(version);
  bytes += '\0';
  bytes += static_cast<char>(dict.size());
  bytes.append(version == 1 ? 1 : 3, '\0');
  return bytes + dict;
}

constexpr const char* kDict = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 224, 2), }";

void refused(const std::string& bytes, const std::string& why) {
  SCOPED_TRACE(why);
  expect_error(ErrorCode::kInvalidArgument, {"s3://bucket/x.npy " + why},
               [&] { read_npy_head(bytes, "s3://bucket/x.npy"); });
}

TEST(NpyHead, SaysWhatTheNumbersAre) {
  for (const int version : {1, 2, 3}) {
    const std::string bytes = npy(kDict, version);
    const NpyHead head = read_npy_head(bytes + "numbers", "x");
    EXPECT_EQ(head.type, "<f4");
    EXPECT_FALSE(head.column_major);
    EXPECT_EQ(head.shape, (std::vector<std::uint64_t>{3, 224, 2}));
    EXPECT_EQ(head.data_offset, bytes.size());
  }
}

TEST(NpyHead, OfOneNumberOfColumnsAndOfRecords) {
  const NpyHead one = read_npy_head(npy("{'descr':'|u1','fortran_order':True,'shape':()}"), "x");
  EXPECT_EQ(one.type, "|u1");
  EXPECT_TRUE(one.column_major);
  EXPECT_TRUE(one.shape.empty());
  const NpyHead records =
      read_npy_head(npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (5,), }"), "x");
  EXPECT_EQ(records.type, "[('a'") << "no type of a number, but something to name";
  EXPECT_EQ(records.shape, (std::vector<std::uint64_t>{5}));
}

TEST(NpyHead, WhatIsBrokenIsNamed) {
  refused("", "is no npy file");
  refused("PK\x03\x04 and more than twelve bytes", "is no npy file");
  refused(npy(kDict, 4), "is an npy file of version 4");
  refused(npy(kDict).substr(0, 40), "has a head of 64 bytes");
  refused(npy("{'fortran_order': False, 'shape': (1,), }"), "has no 'descr' in its head");
  refused(npy("{'descr': '<f4', 'shape': (1,), }"), "has no 'fortran_order' in its head");
  refused(npy("{'descr': '<f4', 'fortran_order': False, 'shape': 7}"), "has no tuple");
  refused(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}"), "has a shape that");
  refused(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}"),
          "has a shape that");
}

}  // namespace
}  // namespace musher
