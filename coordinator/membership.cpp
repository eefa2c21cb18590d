#include "coordinator/membership.h"

#include <algorithm>

namespace musher {

std::vector<int> map_virtual_workers(int virtual_workers, const std::vector<int>& ranks) {
  std::vector<int> map;
  map.reserve(virtual_workers);
  const int count = static_cast<int>(ranks.size());
  for (int i = 0; i < count; ++i) {
    const int share = virtual_workers / count + (i < virtual_workers % count ? 1 : 0);
    map.insert(map.end(), share, ranks[i]);
  }
  return map;
}

std::vector<std::uint32_t> virtual_workers_of(const Generation& generation, int rank) {
  std::vector<std::uint32_t> result;
  for (std::size_t v = 0; v < generation.virtual_worker_rank.size(); ++v) {
    if (generation.virtual_worker_rank[v] == rank) result.push_back(static_cast<std::uint32_t>(v));
  }
  return result;
}

std::string_view to_string(Standing standing) {
  switch (standing) {
    case Standing::kCurrent:
      return "current";
    case Standing::kWrongToken:
      return "it does not have the attempt's token";
    case Standing::kOldAttempt:
      return "its attempt was given up";
    case Standing::kOldGeneration:
      return "its generation is over";
    case Standing::kFutureAttempt:
      return "its attempt or generation is not known here";
    case Standing::kNotAMember:
      return "its rank is no member of the generation";
    case Standing::kNothingRuns:
      return "the job has no attempt running";
  }
  return "unknown";
}

std::string_view to_string(JoinResult result) {
  switch (result) {
    case JoinResult::kWaiting:
      return "joined; other ranks are missing";
    case JoinResult::kComplete:
      return "joined; all ranks are here";
    case JoinResult::kMember:
      return "is a member already";
    case JoinResult::kWrongToken:
      return "the token is not the attempt's";
    case JoinResult::kOldAttempt:
      return "the attempt was given up";
    case JoinResult::kFutureAttempt:
      return "the attempt is not known here";
    case JoinResult::kWrongWorldSize:
      return "the attempt has another number of ranks";
    case JoinResult::kNoSuchRank:
      return "the rank is not below the number of ranks";
    case JoinResult::kRankTaken:
      return "another process has joined as this rank";
  }
  return "unknown";
}

JoinResult join(AttemptMembership& membership, const Caller& caller, int world_size,
                const Member& member) {
  if (caller.attempt < membership.attempt) return JoinResult::kOldAttempt;
  if (caller.attempt > membership.attempt) return JoinResult::kFutureAttempt;
  if (caller.token != membership.token) return JoinResult::kWrongToken;
  if (world_size != membership.world_size) return JoinResult::kWrongWorldSize;
  if (member.rank < 0 || member.rank >= membership.world_size) return JoinResult::kNoSuchRank;
  const auto [place, added] = membership.joined.emplace(member.rank, member);
  if (!added && place->second != member) return JoinResult::kRankTaken;
  if (membership.generation) return JoinResult::kMember;
  const bool all = static_cast<int>(membership.joined.size()) == membership.world_size;
  // A rank whose answer was lost asks again: it waits with the others, and the last one completes
  // the attempt again only if the generation was not formed.
  return all ? JoinResult::kComplete : JoinResult::kWaiting;
}

Generation form_generation(const AttemptMembership& membership, std::uint64_t number) {
  Generation generation{number, membership.attempt, {}, {}};
  std::vector<int> ranks;
  for (const auto& [rank, member] : membership.joined) {
    generation.members.push_back(member);
    ranks.push_back(rank);
  }
  generation.virtual_worker_rank = map_virtual_workers(membership.virtual_workers, ranks);
  return generation;
}

Standing standing(const std::optional<AttemptMembership>& membership, const Caller& caller) {
  if (!membership) return Standing::kNothingRuns;
  if (caller.attempt < membership->attempt) return Standing::kOldAttempt;
  if (caller.attempt > membership->attempt) return Standing::kFutureAttempt;
  if (caller.token != membership->token) return Standing::kWrongToken;
  const std::uint64_t current = membership->generation ? membership->generation->number : 0;
  if (caller.generation < current) return Standing::kOldGeneration;
  // Before the generation is formed nobody has one, so nobody may act in one.
  if (caller.generation > current || current == 0) return Standing::kFutureAttempt;
  const bool member =
      std::any_of(membership->generation->members.begin(), membership->generation->members.end(),
                  [&](const Member& m) { return m.rank == caller.rank; });
  return member ? Standing::kCurrent : Standing::kNotAMember;
}

}  // namespace musher
