#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace musher {

/// A death or a hang at a named moment, for tests: `MEMBER:POINT:STEP[:HOW]`. Only the first
/// attempt of a job has any, and each happens once.
struct Fault {
  int member = 0;
  std::string point;                  ///< one of the table in fault.cpp
  std::optional<std::uint64_t> step;  ///< counted from 1 as in the history; empty: `any`
  int signal = 9;                     ///< 0: `HANG`, the thread that comes there never goes on
  std::shared_ptr<std::atomic<bool>> done = std::make_shared<std::atomic<bool>>(false);
  std::string text;  ///< as it was given
};

/// Throws Error(kInvalidArgument) that names what is wrong.
Fault parse_fault(const std::string& text);

/// The faults of one rank. Empty, as always but in tests, it costs nothing.
class Faults {
 public:
  Faults() = default;
  Faults(const std::vector<Fault>& all, int member);

  /// Says so on stderr and dies, stops or hangs if that is what is to happen here.
  void at(std::string_view point, std::uint64_t step) const;

  /// A collective that never completes: where that is to happen here, returns only when `given_up`
  /// does so too.
  void lose_collective(std::uint64_t step, const std::function<bool()>& given_up) const;

  /// For rooms that do not know this class; empty where there is no fault.
  std::function<void(std::string_view point, std::uint64_t step)> probe() const;

 private:
  const Fault* find(std::string_view point, std::uint64_t step) const;

  std::vector<Fault> faults_;
};

}  // namespace musher
