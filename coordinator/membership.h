#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// Who takes part in a job, and who has which virtual workers. Pure; the coordinator journals a
/// generation before it tells anyone of it.
namespace musher {

/// A training process, as it introduced itself.
struct Member {
  int rank = 0;
  std::string host;
  std::int64_t pid = 0;
  bool operator==(const Member&) const = default;
};

/// A set of ranks with a map virtual worker → rank. Numbers rise over the whole life of a job,
/// across its attempts.
struct Generation {
  std::uint64_t number = 0;
  std::uint64_t attempt = 0;
  std::vector<Member> members;           ///< ascending by rank
  std::vector<int> virtual_worker_rank;  ///< [V]
  bool operator==(const Generation&) const = default;
};

/// Contiguous blocks in ascending order, which differ by at most one virtual worker; the first
/// ranks have the larger ones. REQUIRES: 1 ≤ ranks.size() ≤ virtual_workers; ranks ascending.
std::vector<int> map_virtual_workers(int virtual_workers, const std::vector<int>& ranks);

/// The virtual workers of `rank`, ascending. Empty for a rank that is no member.
std::vector<std::uint32_t> virtual_workers_of(const Generation& generation, int rank);

/// Who calls: v1::RankId in plain form.
struct Caller {
  std::uint64_t attempt = 0;
  std::uint64_t generation = 0;  ///< 0 before Join
  int rank = 0;
  std::string token;
};

/// What the coordinator thinks of a caller. All but kCurrent are answered `stale`, and logged by
/// name.
enum class Standing {
  kCurrent,
  kWrongToken,     ///< not a process of this attempt
  kOldAttempt,     ///< of an attempt that was given up
  kOldGeneration,  ///< of this attempt, but the membership has moved on
  kFutureAttempt,  ///< of an attempt or generation that this coordinator never made: its store is
                   ///< older than the caller
  kNotAMember,     ///< the generation does not have this rank
  kNothingRuns,    ///< the job has no attempt running
};
std::string_view to_string(Standing standing);

/// An attempt that is being joined, and the generation it forms. A value that only one thread
/// changes at a time.
struct AttemptMembership {
  std::uint64_t attempt = 0;
  std::string token;
  int world_size = 1;
  int virtual_workers = 1;
  std::map<int, Member> joined;          ///< by rank
  std::optional<Generation> generation;  ///< once all have joined
};

enum class JoinResult {
  kWaiting,   ///< in; others are missing
  kComplete,  ///< in, and the last: form_generation() is due
  kMember,    ///< was in already, with this process: the same answer again
  kWrongToken,
  kOldAttempt,
  kFutureAttempt,
  kWrongWorldSize,
  kNoSuchRank,
  kRankTaken,  ///< another process has joined as this rank
};
/// One line for the person, e.g. "another process has joined as this rank".
std::string_view to_string(JoinResult result);

/// Takes a join down. Changes `membership` only where the result is kWaiting or kComplete.
JoinResult join(AttemptMembership& membership, const Caller& caller, int world_size,
                const Member& member);

/// The generation of a complete attempt. REQUIRES: joined.size() == world_size ≤ virtual_workers.
Generation form_generation(const AttemptMembership& membership, std::uint64_t number);

/// Where a caller other than Join stands. `membership` absent: no attempt runs.
Standing standing(const std::optional<AttemptMembership>& membership, const Caller& caller);

}  // namespace musher
