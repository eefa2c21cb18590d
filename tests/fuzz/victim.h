#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace musher::test {

/// A whole model server but for torch: HTTP, the container's contract, real pictures decoded, and a
/// model that adds up. Its limits are small, so that they are met.
class Victim {
 public:
  Victim();
  ~Victim();

  std::uint16_t port() const;
  std::size_t connections() const;
  std::size_t under_way() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Whole requests, each good: every content type, chunked, with Expect, several at once.
std::vector<std::string> good_requests();
/// Bodies of them: pictures, npy, JSON.
std::vector<std::string> good_bodies();

/// What any body may come to: an array or floats, or musher::Error. Anything else that is thrown
/// goes through.
void parse_as_everything(const std::string& body);

}  // namespace musher::test
