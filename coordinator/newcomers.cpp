#include "coordinator/newcomers.h"

#include <algorithm>

namespace musher {

using std::chrono::milliseconds;

std::optional<int> newcomer_of(const std::map<int, NewcomerRecord>& newcomers, int spawn,
                               std::int64_t pid) {
  const auto first = [&](auto matches) -> std::optional<int> {
    const auto found = std::find_if(newcomers.begin(), newcomers.end(),
                                    [&](const auto& entry) { return matches(entry.second); });
    return found == newcomers.end() ? std::nullopt : std::optional(found->first);
  };
  using State = NewcomerRecord::State;
  if (const auto by_pid =
          first([&](const NewcomerRecord& one) { return pid != 0 && one.member.pid == pid; })) {
    return by_pid;
  }
  if (const auto by_spawn = first([&](const NewcomerRecord& one) { return one.spawn == spawn; })) {
    return by_spawn;
  }
  return first([](const NewcomerRecord& one) { return one.state == State::kAskedFor; });
}

milliseconds newcomer_backoff(int failures) {
  constexpr milliseconds kFirst{1'000};
  constexpr milliseconds kMost{60'000};
  if (failures <= 0) return milliseconds(0);
  return failures > 6 ? kMost : std::min(kMost, kFirst * (1 << (failures - 1)));
}

std::vector<int> ask_for_newcomers(Newcomers& newcomers, int wanted, int members,
                                   Deadline::Clock::time_point now) {
  std::vector<int> added;
  if (now < newcomers.not_before) return added;
  const int there = members + static_cast<int>(newcomers.asked_for.size());
  for (int i = there; i < wanted; ++i) {
    newcomers.asked_for.emplace(newcomers.next_rank, now);
    added.push_back(newcomers.next_rank++);
  }
  return added;
}

void newcomer_failed(Newcomers& newcomers, int rank, Deadline::Clock::time_point now) {
  if (newcomers.asked_for.erase(rank) == 0) return;
  newcomers.failures += 1;
  newcomers.not_before = now + newcomer_backoff(newcomers.failures);
}

void drop_newcomer(Newcomers& newcomers, int rank) {
  newcomers.asked_for.erase(rank);
}

}  // namespace musher
