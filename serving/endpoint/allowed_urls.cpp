#include "serving/endpoint/allowed_urls.h"

#include <optional>

#include <fmt/format.h>

#include "common/error.h"

namespace musher {
namespace {

bool has_dot_segment(const std::string& path) {
  const std::string bounded = "/" + path + "/";
  return bounded.find("/../") != bounded.npos || bounded.find("/./") != bounded.npos ||
         bounded.find("//", 1) < path.size() || path.find('\0') != path.npos;
}

/// What of `uri` comes after the prefix and a slash; empty where it is not below it.
std::string key_below(const Uri& prefix, const Uri& uri) {
  if (uri.scheme != prefix.scheme || uri.bucket != prefix.bucket) return "";
  if (prefix.path.empty()) return uri.path;
  const std::string folder = prefix.path.ends_with('/') ? prefix.path : prefix.path + "/";
  return uri.path.starts_with(folder) ? uri.path.substr(folder.size()) : "";
}

}  // namespace

AllowedUrls::AllowedUrls(const std::vector<std::string>& prefixes, const StorageConfig& storage) {
  for (const std::string& text : prefixes) {
    const Uri uri = Uri::parse(text);
    prefixes_.push_back({uri, open_store(uri, storage)});
  }
}

std::vector<std::byte> AllowedUrls::read(const std::string& url, std::uint64_t limit) {
  // A URL of another kind is told the same as one elsewhere: it says nothing of what there is.
  const auto uri = [&]() -> std::optional<Uri> {
    try {
      return Uri::parse(url);
    } catch (const Error&) {
      return std::nullopt;
    }
  }();
  if (uri && !has_dot_segment(uri->path)) {
    for (const Prefix& prefix : prefixes_) {
      const std::string key = key_below(prefix.uri, *uri);
      if (key.empty()) continue;
      if (const auto info = prefix.store->head(key); info.size > limit) {
        throw Error(ErrorCode::kInvalidArgument,
                    fmt::format("{} is larger than {} bytes", url, limit));
      }
      return prefix.store->read(key);
    }
  }
  throw Error(ErrorCode::kPermissionDenied,
              "\"url\" must be an object below one of the prefixes that this endpoint allows");
}

}  // namespace musher
