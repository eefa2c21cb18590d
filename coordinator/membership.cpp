#include "coordinator/membership.h"

#include <algorithm>
#include <functional>

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

int leader_of(const std::optional<Generation>& generation) {
  return generation && !generation->members.empty() ? generation->members.front().rank : -1;
}

bool is_member(const Generation& generation, int rank) {
  return std::ranges::binary_search(generation.members, rank, {}, &Member::rank);
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
    case Standing::kCatchingUp:
      return "it has yet to learn of the present generation";
    case Standing::kNewcomer:
      return "it is a newcomer that is no member yet";
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
    case JoinResult::kNewcomer:
      return "joined; to be a member with the next generation";
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
    case JoinResult::kLeftOut:
      return "the others went on without it";
    case JoinResult::kNotAwaited:
      return "no such newcomer is waited for";
  }
  return "unknown";
}

std::string_view to_string(RegroupResult result) {
  switch (result) {
    case RegroupResult::kNew:
      return "a new generation";
    case RegroupResult::kRepeated:
      return "said again";
    case RegroupResult::kStale:
      return "it is stale";
    case RegroupResult::kNothingStands:
      return "no generation stands yet";
    case RegroupResult::kUnordered:
      return "the members it names are not ascending ranks";
    case RegroupResult::kNotTheLowest:
      return "its rank is not the lowest of those that it names";
    case RegroupResult::kStranger:
      return "is neither a member nor a newcomer that has joined";
    case RegroupResult::kTooMany:
      return "there are more ranks than virtual workers";
  }
  return "unknown";
}

namespace {

/// What holds for every Join. Absent: nothing is wrong so far.
std::optional<JoinResult> refused(const AttemptMembership& membership, const Caller& caller) {
  if (caller.attempt < membership.attempt) return JoinResult::kOldAttempt;
  if (caller.attempt > membership.attempt) return JoinResult::kFutureAttempt;
  if (caller.token != membership.token) return JoinResult::kWrongToken;
  return std::nullopt;
}

}  // namespace

JoinResult join(AttemptMembership& membership, const Caller& caller, int world_size,
                const Member& member) {
  if (const auto refusal = refused(membership, caller)) return *refusal;
  if (membership.generation) {
    const auto known = membership.joined.find(member.rank);
    if (known == membership.joined.end()) {
      return member.rank >= 0 && member.rank < membership.world_size ? JoinResult::kLeftOut
                                                                     : JoinResult::kNoSuchRank;
    }
    return known->second == member ? JoinResult::kMember : JoinResult::kRankTaken;
  }
  if (world_size != membership.world_size) return JoinResult::kWrongWorldSize;
  if (member.rank < 0 || member.rank >= membership.world_size) return JoinResult::kNoSuchRank;
  const auto [place, added] = membership.joined.emplace(member.rank, member);
  if (!added && place->second != member) return JoinResult::kRankTaken;
  const bool all = static_cast<int>(membership.joined.size()) == membership.world_size;
  // A rank whose answer was lost asks again: it waits with the others, and the last one completes
  // the attempt again only if the generation was not formed.
  return all ? JoinResult::kComplete : JoinResult::kWaiting;
}

JoinResult join_newcomer(AttemptMembership& membership, const Caller& caller,
                         const Member& member) {
  if (const auto refusal = refused(membership, caller)) return *refusal;
  if (!membership.generation) return JoinResult::kNotAwaited;
  for (const auto* known : {&membership.newcomers, &membership.joined}) {
    const auto found = known->find(member.rank);
    if (found == known->end()) continue;
    if (found->second != member) return JoinResult::kRankTaken;
    return known == &membership.joined ? JoinResult::kMember : JoinResult::kNewcomer;
  }
  if (membership.awaited.erase(member.rank) == 0) return JoinResult::kNotAwaited;
  membership.newcomers.emplace(member.rank, member);
  return JoinResult::kNewcomer;
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

Regrouping regroup(const AttemptMembership& membership, const Caller& caller,
                   const std::vector<int>& members) {
  Regrouping answer;
  const auto refuse = [&](RegroupResult result, const std::string& who = "") {
    answer.result = result;
    answer.refusal = who + std::string(to_string(result));
    return answer;
  };
  const Standing where = standing(membership, caller);
  if (!membership.generation && where == Standing::kFutureAttempt) {
    return refuse(RegroupResult::kNothingStands);
  }
  if (where != Standing::kCurrent && where != Standing::kCatchingUp) {
    answer.result = RegroupResult::kStale;
    answer.refusal = to_string(where);
    return answer;
  }
  if (members.empty() ||
      std::adjacent_find(members.begin(), members.end(), std::greater_equal<>()) != members.end()) {
    return refuse(RegroupResult::kUnordered);
  }
  const Generation& present = *membership.generation;
  std::map<int, Member> known = membership.newcomers;
  known.insert(membership.given_up.begin(), membership.given_up.end());
  for (const Member& member : present.members) known.emplace(member.rank, member);
  for (const int rank : members) {
    if (!known.contains(rank)) {
      return refuse(RegroupResult::kStranger, "rank " + std::to_string(rank) + " ");
    }
  }
  if (members.front() != caller.rank) return refuse(RegroupResult::kNotTheLowest);
  if (static_cast<int>(members.size()) > membership.virtual_workers) {
    return refuse(RegroupResult::kTooMany);
  }
  const bool same =
      std::equal(members.begin(), members.end(), present.members.begin(), present.members.end(),
                 [](int rank, const Member& member) { return rank == member.rank; });
  if (same && where == Standing::kCatchingUp) {
    answer.result = RegroupResult::kRepeated;
    answer.generation = present;
    return answer;
  }
  answer.result = RegroupResult::kNew;
  answer.generation = {present.number + 1, membership.attempt, {}, {}};
  for (const int rank : members) {
    answer.generation.members.push_back(known.at(rank));
    if (!is_member(present, rank)) answer.added.push_back(rank);
  }
  for (const Member& member : present.members) {
    if (!is_member(answer.generation, member.rank)) answer.missing.push_back(member.rank);
  }
  answer.generation.virtual_worker_rank = map_virtual_workers(membership.virtual_workers, members);
  return answer;
}

void adopt(AttemptMembership& membership, Generation generation) {
  membership.joined.clear();
  for (const Member& member : generation.members) {
    membership.joined.emplace(member.rank, member);
    membership.newcomers.erase(member.rank);
    membership.given_up.erase(member.rank);
  }
  membership.generation = std::move(generation);
}

Standing standing(const std::optional<AttemptMembership>& membership, const Caller& caller) {
  if (!membership) return Standing::kNothingRuns;
  if (caller.attempt < membership->attempt) return Standing::kOldAttempt;
  if (caller.attempt > membership->attempt) return Standing::kFutureAttempt;
  if (caller.token != membership->token) return Standing::kWrongToken;
  const std::uint64_t current = membership->generation ? membership->generation->number : 0;
  // Before the generation is formed nobody has one, so nobody may act in one.
  if (caller.generation > current || current == 0) return Standing::kFutureAttempt;
  const bool member = is_member(*membership->generation, caller.rank);
  // Nobody has a generation of number 0: a caller that says so never had its Join answered.
  if (caller.generation > 0 && membership->newcomers.contains(caller.rank)) {
    return Standing::kNewcomer;
  }
  if (caller.generation == current) return member ? Standing::kCurrent : Standing::kNotAMember;
  return member && caller.generation > 0 ? Standing::kCatchingUp : Standing::kOldGeneration;
}

}  // namespace musher
