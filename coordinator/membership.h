#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
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

/// The lowest rank of a generation: it speaks for all. -1 where there is none.
int leader_of(const std::optional<Generation>& generation);

bool is_member(const Generation& generation, int rank);

/// The virtual workers of `rank`, ascending. Empty for a rank that is no member.
std::vector<std::uint32_t> virtual_workers_of(const Generation& generation, int rank);

/// Who calls: v1::RankId in plain form.
struct Caller {
  std::uint64_t attempt = 0;
  std::uint64_t generation = 0;  ///< 0 before Join
  int rank = 0;
  std::string token;
};

/// What the coordinator thinks of a caller. All but the first three are answered `stale`, and
/// logged by name.
enum class Standing {
  kCurrent,
  kCatchingUp,     ///< a member of the present generation that only knows an earlier one yet
  kNewcomer,       ///< has joined, and will be a member with a coming generation
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
/// changes at a time. A rank's number is never given twice.
struct AttemptMembership {
  std::uint64_t attempt = 0;
  std::string token;
  int world_size = 1;  ///< that mpirun started: ranks 0 to world_size - 1
  int virtual_workers = 1;
  std::map<int, Member> joined{};          ///< by rank; once the generation stands, its members
  std::optional<Generation> generation{};  ///< once all have joined
  std::set<int> awaited{};                 ///< newcomers that were asked for and have not joined
  std::map<int, Member> newcomers{};       ///< that have joined and were never in a generation
  /// Of those, the ones that are dead or not wanted. The members may have taken one in just before
  /// they were told: then it is a member that died.
  std::map<int, Member> given_up{};
};

enum class JoinResult {
  kWaiting,   ///< in; others are missing
  kComplete,  ///< in, and the last: form_generation() is due
  kMember,    ///< was in already, with this process: the same answer again
  kNewcomer,  ///< in, and to be a member with a coming generation
  kWrongToken,
  kOldAttempt,
  kFutureAttempt,
  kWrongWorldSize,
  kNoSuchRank,
  kRankTaken,   ///< another process has joined as this rank
  kLeftOut,     ///< the generation stands without this rank
  kNotAwaited,  ///< a newcomer that nobody asked for, or that was given up
};
/// One line for the person, e.g. "another process has joined as this rank".
std::string_view to_string(JoinResult result);

/// Takes a join down. Changes `membership` only where the result is kWaiting or kComplete.
JoinResult join(AttemptMembership& membership, const Caller& caller, int world_size,
                const Member& member);

/// Takes down the join of a rank that was started while the others train. Changes `membership` only
/// where the result is kNewcomer.
JoinResult join_newcomer(AttemptMembership& membership, const Caller& caller, const Member& member);

/// The generation of a complete attempt. REQUIRES: joined.size() == world_size ≤ virtual_workers.
Generation form_generation(const AttemptMembership& membership, std::uint64_t number);

enum class RegroupResult {
  kNew,       ///< `generation` is to be journaled, then taken with adopt()
  kRepeated,  ///< the answer was lost: the present generation again
  kStale,     ///< the caller is no member of the attempt as it is now: see `standing`
  kNothingStands,
  kUnordered,     ///< nobody, or not ascending
  kNotTheLowest,  ///< the caller does not lead those that it names
  kStranger,      ///< one of them is neither a member nor a newcomer that ever joined
  kTooMany,       ///< more ranks than virtual workers
};
/// One line for the person, e.g. "its rank is not the lowest of those that it names".
std::string_view to_string(RegroupResult result);

struct Regrouping {
  RegroupResult result = RegroupResult::kStale;
  Generation generation;     ///< of kNew and kRepeated
  std::vector<int> missing;  ///< members of the generation before that are not in it; of kNew
  std::vector<int> added;    ///< newcomers that are; of kNew
  std::string refusal;       ///< for the log, where it is neither of the two
};

/// Members of the present generation, and newcomers, say that they go on as `members`. Whom a
/// generation has left out is no member any more, so a part of the ranks that lost a dispute, or a
/// process of long ago, is refused here.
Regrouping regroup(const AttemptMembership& membership, const Caller& caller,
                   const std::vector<int>& members);

/// From now on `generation`, which has been journaled, is the present one.
void adopt(AttemptMembership& membership, Generation generation);

/// Where a caller other than Join stands. `membership` absent: no attempt runs.
Standing standing(const std::optional<AttemptMembership>& membership, const Caller& caller);

}  // namespace musher
