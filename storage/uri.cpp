#include "storage/uri.h"

#include <algorithm>

#include <fmt/format.h>

#include "common/error.h"

namespace musher {
namespace {

constexpr std::string_view kS3 = "s3://";
constexpr std::string_view kFile = "file://";

/// For a message of one line.
std::string printable(std::string_view text) {
  std::string line(text);
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return line;
}

[[noreturn]] void reject(std::string_view text, std::string_view problem) {
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("\"{}\" is no URI that Musher reads: {}; write s3://bucket/prefix or "
                          "file:///folder",
                          printable(text), problem));
}

/// Empty for a good path, else what is wrong. `path` has no slash at either end.
std::string_view path_problem(std::string_view path) {
  for (const unsigned char c : path) {
    if (c < 0x20 || c == 0x7f) return "it holds a control character";
  }
  if (path.ends_with('/')) return "it holds an empty path segment (\"//\")";
  while (!path.empty()) {
    const std::size_t end = std::min(path.find('/'), path.size());
    const std::string_view part = path.substr(0, end);
    if (part.empty()) return "it holds an empty path segment (\"//\")";
    if (part == "." || part == "..") return "it holds a \".\" or \"..\" segment";
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return {};
}

bool bucket_is_valid(std::string_view bucket) {
  const auto alphanumeric = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  if (bucket.size() < 3 || bucket.size() > 63) return false;
  if (!alphanumeric(bucket.front()) || !alphanumeric(bucket.back())) return false;
  for (const char c : bucket) {
    if (!alphanumeric(c) && c != '-' && c != '.') return false;
  }
  return bucket.find("..") == bucket.npos;
}

std::string_view without_trailing_slash(std::string_view path) {
  if (path.ends_with('/')) path.remove_suffix(1);
  return path;
}

}  // namespace

Uri Uri::parse(std::string_view text) {
  Uri uri;
  std::string_view path;
  if (text.starts_with(kS3)) {
    uri.scheme = "s3";
    const std::string_view rest = text.substr(kS3.size());
    const std::size_t slash = std::min(rest.find('/'), rest.size());
    uri.bucket = rest.substr(0, slash);
    if (!bucket_is_valid(uri.bucket)) {
      reject(text, "a bucket's name is 3 to 63 lower-case letters, digits, '-' and '.'");
    }
    path = without_trailing_slash(rest.substr(std::min(slash + 1, rest.size())));
    uri.path = path;
  } else if (text.starts_with(kFile)) {
    uri.scheme = "file";
    path = text.substr(kFile.size());
    if (!path.starts_with('/')) reject(text, "file URIs have three slashes and an absolute path");
    path = without_trailing_slash(path.substr(1));
    uri.path = fmt::format("/{}", path);
  } else {
    reject(text, "the scheme is neither s3 nor file");
  }
  if (const auto problem = path_problem(path); !problem.empty()) reject(text, problem);
  return uri;
}

std::string Uri::str() const {
  if (scheme == "file") return fmt::format("file://{}", path);
  if (path.empty()) return fmt::format("{}://{}", scheme, bucket);
  return fmt::format("{}://{}/{}", scheme, bucket, path);
}

Uri Uri::join(std::string_view key) const {
  key = without_trailing_slash(key);
  if (key.empty()) return *this;
  if (const auto problem = path_problem(key); !problem.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("\"{}\" can't be a key below {}: {}", printable(key), str(), problem));
  }
  Uri joined = *this;
  if (!joined.path.empty() && !joined.path.ends_with('/')) joined.path += '/';
  joined.path += key;
  return joined;
}

}  // namespace musher
