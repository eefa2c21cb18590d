#include "serving/access/signed_request.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "serving/access/cryptography.h"

namespace musher {
namespace {

constexpr std::string_view kBlanks = " \t";

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool same_name(std::string_view header, std::string_view lower_name) {
  return std::ranges::equal(header, lower_name, {}, lower);
}

/// Trimmed, each run of blanks one.
void append_value(std::string& out, std::string_view value) {
  bool blank = false;
  bool any = false;
  for (const char c : value) {
    if (kBlanks.find(c) != kBlanks.npos) {
      blank = any;
      continue;
    }
    if (blank) out += ' ';
    blank = false;
    any = true;
    out += c;
  }
}

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == text.npos) return parts;
    text.remove_prefix(end + 1);
  }
}

std::string without_dots(std::string_view path) {
  std::vector<std::string_view> kept;
  for (const std::string_view segment : split(path, '/')) {
    if (segment.empty() || segment == ".") continue;
    if (segment != "..") {
      kept.push_back(segment);
    } else if (!kept.empty()) {
      kept.pop_back();
    }
  }
  std::string normal = fmt::format("/{}", fmt::join(kept, "/"));
  if (!kept.empty() && path.ends_with('/')) normal += '/';
  return normal;
}

std::string canonical_query(std::string_view query) {
  std::vector<std::pair<std::string, std::string>> pairs;
  for (const std::string_view pair : split(query, '&')) {
    if (pair.empty()) continue;
    const std::size_t equals = pair.find('=');
    const std::string_view value = equals == pair.npos ? "" : pair.substr(equals + 1);
    pairs.emplace_back(uri_encode(uri_decode(pair.substr(0, equals)), /*keep_slash=*/false),
                       uri_encode(uri_decode(value), /*keep_slash=*/false));
  }
  std::ranges::sort(pairs);
  std::string text;
  for (const auto& [name, value] : pairs) {
    if (!text.empty()) text += '&';
    text += name;
    text += '=';
    text += value;
  }
  return text;
}

}  // namespace

std::string lower_case(std::string_view text) {
  std::string lowered(text);
  std::ranges::transform(lowered, lowered.begin(), lower);
  return lowered;
}

std::string uri_encode(std::string_view text, bool keep_slash) {
  std::string encoded;
  for (const char c : text) {
    const bool unreserved = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                            (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' || c == '~';
    if (unreserved || (keep_slash && c == '/')) {
      encoded += c;
    } else {
      encoded += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return encoded;
}

std::string uri_decode(std::string_view text) {
  std::string bytes;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && digit(text[i + 1]) >= 0 &&
        digit(text[i + 2]) >= 0) {
      bytes += static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2]));
      i += 2;
    } else {
      bytes += text[i];
    }
  }
  return bytes;
}

std::string SignedRequest::canonical_header(std::string_view name) const {
  std::string value;
  bool first = true;
  for (const auto& [header, text] : headers) {
    if (!same_name(header, name)) continue;
    if (!first) value += ',';
    first = false;
    append_value(value, text);
  }
  return value;
}

bool SignedRequest::has_header(std::string_view name) const {
  return std::ranges::any_of(headers, [&](const auto& h) { return same_name(h.first, name); });
}

std::string canonical_request(const SignedRequest& request,
                              const std::vector<std::string>& signed_headers) {
  const std::size_t question = request.target.find('?');
  const std::string_view path = request.target.substr(0, question);
  const std::string_view query =
      question == request.target.npos ? "" : request.target.substr(question + 1);
  std::string headers;
  for (const std::string& name : signed_headers)
    headers += name + ":" + request.canonical_header(name) + "\n";
  return fmt::format("{}\n{}\n{}\n{}\n{}\n{}", request.method,
                     uri_encode(without_dots(path), /*keep_slash=*/true), canonical_query(query),
                     headers, fmt::join(signed_headers, ";"), hex(sha256(request.body)));
}

}  // namespace musher
