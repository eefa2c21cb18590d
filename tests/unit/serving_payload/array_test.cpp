#include "serving/payload/array.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "serving/payload/answer.h"
#include "support/expect_error.h"

namespace musher {
namespace {

namespace fs = std::filesystem;
using test::expect_error;
using Shape = std::vector<std::int64_t>;

/// Runs Python with `np` and `path`.
void numpy(const std::string& code, const fs::path& path) {
  const std::string command = fmt::format("'{}' -c \"import numpy as np; path = '{}'; {}\"",
                                          NUMPY_PYTHON, path.string(), code);
  ASSERT_EQ(std::system(command.c_str()), 0) << code;
}

fs::path file_here() {
  return fs::path(testing::TempDir()) / fmt::format("array-{}.npy", getpid());
}

std::string text_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(Npy, ReadsWhatNumpyWrites) {
  const fs::path path = file_here();
  for (const char* type : {"<f4", ">f4", "<f8", ">f8", "<f2", ">f2", "|u1"}) {
    SCOPED_TRACE(type);
    numpy(fmt::format("np.save(path, np.array([[0, 1, 2.5], [7, 100, 255]]).astype('{}'))", type),
          path);
    const Array array = read_npy(text_of(path));
    EXPECT_EQ(array.shape, (Shape{2, 3}));
    const float half = type[1] == 'u' ? 2.0f : 2.5f;
    EXPECT_EQ(array.values, (std::vector<float>{0, 1, half, 7, 100, 255}));
  }
  numpy("np.save(path, np.array([-6e-8, 65504, -2, 1e-4], 'f2'))", path);
  const Array halves = read_npy(text_of(path));
  EXPECT_EQ(halves.values[0], -0x1.0p-24f);
  EXPECT_EQ(halves.values[1], 65504.0f);
  EXPECT_NEAR(halves.values[3], 1e-4, 1e-7);
  numpy("np.lib.format.write_array(open(path, 'wb'), np.ones((1, 2), 'f4'), version=(2, 0))", path);
  EXPECT_EQ(read_npy(text_of(path)).shape, (Shape{1, 2}));
  fs::remove(path);
}

TEST(Npy, NumpyReadsWhatIsWritten) {
  const fs::path path = file_here();
  for (const Shape& shape : {Shape{6}, Shape{2, 3}, Shape{1, 6}}) {
    const std::string bytes = write_npy({shape, {0.5f, 1, 2, 3, 4, -1e30f}});
    std::ofstream(path, std::ios::binary) << bytes;
    EXPECT_EQ(read_npy(bytes).shape, shape);
    numpy(
        "a = np.load(path); assert a.dtype == np.float32, a.dtype; "
        "assert (a.ravel() == np.array([0.5, 1, 2, 3, 4, -1e30], 'f4')).all(), a",
        path);
  }
  fs::remove(path);
}

TEST(Npy, WhatIsBrokenIsRefused) {
  const fs::path path = file_here();
  const auto refused = [&](const std::string& bytes) {
    expect_error(ErrorCode::kInvalidArgument, {"the npy file"}, [&] { read_npy(bytes); });
  };
  const std::string whole = write_npy({{2, 3}, {0, 1, 2, 3, 4, 5}});
  for (std::size_t length = 0; length < whole.size(); ++length) refused(whole.substr(0, length));
  refused(whole + "x");
  const auto changed = [&](const std::string& from, const std::string& to) {
    std::string text = whole;
    text.replace(text.find(from), from.size(), to);
    return text;
  };
  refused(changed("(2, 3)", "(2,-3)"));
  refused(changed("(2, 3)", "(2, 0)"));
  refused(changed("(2, 3), }          ", "(9999999999, 999999999),}"));
  refused(changed("<f4", "<i4"));
  refused(changed("<f4", "|O'"));
  refused(changed("False", "True "));
  refused(changed("\x01", "\x04"));
  numpy("np.save(path, np.array(['a', {}], dtype=object))", path);
  refused(text_of(path));
  fs::remove(path);
}

Array json_array(std::string_view text) {
  return std::get<Array>(read_json_instance(text));
}

TEST(JsonInstance, IsReadBareAndInInstances) {
  EXPECT_EQ(json_array("[[1, 2.5, -3], [4, 5, 6]]").shape, (Shape{2, 3}));
  EXPECT_EQ(json_array("[[1, 2.5, -3], [4, 5, 6]]").values,
            (std::vector<float>{1, 2.5f, -3, 4, 5, 6}));
  EXPECT_EQ(json_array(R"({"instances": [[1, 2]]})").shape, (Shape{2}));
  EXPECT_EQ(std::get<UrlInstance>(read_json_instance(R"({"url": "s3://b/lab.jpg"})")).url,
            "s3://b/lab.jpg");
}

TEST(JsonInstance, WhatIsWrongIsSaid) {
  const auto refused = [](const std::string& text, const char* part) {
    expect_error(ErrorCode::kInvalidArgument, {part}, [&] { read_json_instance(text); });
  };
  refused("", "not JSON");
  refused("[1", "not JSON");
  refused("7", "instance");
  refused("{}", "instance");
  refused(R"({"url": "a", "instances": []})", "instance");
  refused(R"({"URL": "a"})", "instance");
  refused(R"({"url": 1})", "\"url\"");
  refused(R"({"instances": [[1], [2]]})", "one instance");
  refused("[[1, 2], [3]]", "length");
  refused("[[1, 2], 3]", "depth");
  refused("[[1, 2], [3, [4]]]", "depth");
  refused("[[1, \"2\"]]", "numbers");
  refused("[]", "empty");
  refused(std::string(100'000, '['), "deeply");
}

TEST(OneSample, MustHaveTheModelsShape) {
  const auto array = [](Shape shape, float first = 0) {
    Array a{std::move(shape), std::vector<float>(6)};
    a.values[0] = first;
    return a;
  };
  EXPECT_EQ(one_sample(array({1, 2, 3}), {1, 2, 3}).shape, (Shape{1, 2, 3}));
  EXPECT_EQ(one_sample(array({1, 1, 2, 3}), {1, 2, 3}).shape, (Shape{1, 2, 3}));
  expect_error(ErrorCode::kInvalidArgument, {"[1, 2, 3]", "[2, 3]"}, [&] {
    one_sample(array({2, 3}), {1, 2, 3});
  });
  expect_error(ErrorCode::kInvalidArgument, {"shape"}, [&] {
    one_sample(array({2, 1, 1, 3}), {1, 1, 3});
  });
  for (const float odd : {std::numeric_limits<float>::infinity(), std::nanf("")}) {
    expect_error(ErrorCode::kInvalidArgument, {"finite"},
                 [&] { one_sample(array({6}, odd), {6}); });
  }
}

TEST(Answer, IsTheShortestTextOfTheSameFloats) {
  const std::vector<float> logits = {0.1f, -2, 1e-10f};
  EXPECT_EQ(write_answer(logits, "application/json"), "[[0.1, -2, 1e-10]]");
  EXPECT_EQ(write_answer(logits, "text/csv"), "0.1,-2,1e-10\n");
  const Array back = read_npy(write_answer(logits, "application/x-npy"));
  EXPECT_EQ(back.shape, (Shape{1, 3}));
  EXPECT_EQ(back.values, logits);
  expect_error(ErrorCode::kInternal, {"finite"},
               [] { write_answer(std::vector<float>{std::nanf("")}, "text/csv"); });
}

}  // namespace
}  // namespace musher
