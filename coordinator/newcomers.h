#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "common/deadline.h"
#include "coordinator/membership.h"

/// Which ranks are to be started while a job runs, to bring it to the size that is wanted. Pure.
namespace musher {

/// Newcomers of one attempt: from being asked for until they are members or given up.
struct Newcomers {
  int next_rank = 0;                                       ///< a number that nobody has had
  std::map<int, Deadline::Clock::time_point> asked_for{};  ///< when; those that have joined as well
  int failures = 0;                                        ///< in a row
  Deadline::Clock::time_point not_before{};                ///< the next is asked for then
};

/// A newcomer as the store remembers it.
struct NewcomerRecord {
  enum class State {
    kAskedFor,
    kJoined,
    kMember,   ///< of some generation
    kGivenUp,  ///< before that
  };
  Member member;                   ///< host and pid once it has joined
  State state = State::kAskedFor;  ///< whatever it is, the number is not given again
  int spawn = 0;                   ///< by which mpirun knows it, where it ended before it joined
  bool operator==(const NewcomerRecord&) const = default;
};

/// Whose process ended, which mpirun knows by its own count of spawns and by its pid: who joined
/// with that pid; else who was found before to be that spawn; else the first who has yet to join.
/// Absent: nobody is.
std::optional<int> newcomer_of(const std::map<int, NewcomerRecord>& newcomers, int spawn,
                               std::int64_t pid);

/// How long to wait after so many failures in a row: 1 s, doubling up to a minute.
std::chrono::milliseconds newcomer_backoff(int failures);

/// Asks for as many as are missing between `members`, those of the generation that live, and
/// `wanted`, and returns who was added. None before the backoff is over.
std::vector<int> ask_for_newcomers(Newcomers& newcomers, int wanted, int members,
                                   Deadline::Clock::time_point now);

/// This one will not come: it ended, or took too long. Another gets another number.
void newcomer_failed(Newcomers& newcomers, int rank, Deadline::Clock::time_point now);

/// Those that are too many when fewer are wanted, or that the rank that started them can't bring in
/// any more because it is gone. No failure of theirs.
void drop_newcomer(Newcomers& newcomers, int rank);

}  // namespace musher
