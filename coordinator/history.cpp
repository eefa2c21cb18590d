#include "coordinator/history.h"

#include <algorithm>

#include <fmt/format.h>
#include <re2/re2.h>

namespace musher {

namespace {

std::string count(std::size_t ranks) {
  return fmt::format("{} rank{}", ranks, ranks == 1 ? "" : "s");
}

}  // namespace

Change change_between(const Generation& before, const Generation& now, const JobState& state) {
  Change change;
  const auto add = [&](const std::string& text) {
    change.text += (change.text.empty() ? "" : "; ") + text;
  };
  std::vector<std::pair<WallTime, std::string>> lost;
  for (const Member& member : before.members) {
    if (is_member(now, member.rank)) continue;
    const auto loss = state.lost.find(member.rank);
    if (loss == state.lost.end()) {
      add(fmt::format("rank {} left", member.rank));
      continue;
    }
    lost.emplace_back(loss->second.at, fmt::format("rank {} on host {} {}", member.rank,
                                                   member.host, loss->second.what));
  }
  std::stable_sort(lost.begin(), lost.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [at, text] : lost) add(text);
  change.lost = !lost.empty();
  for (const Member& member : now.members) {
    if (!is_member(before, member.rank)) add(fmt::format("rank {} joined", member.rank));
  }
  if (change.text.empty()) {
    change.text = "a collective hung and was given up";
    change.lost = true;
  }
  return change;
}

std::optional<std::uint64_t> recovery_step(const std::string& line) {
  static const re2::RE2 kLine(
      R"( went on with step (\d+) after [\d.]+ s| from step (\d+) on, training paused for )");
  std::string failure;
  std::string wish;
  if (!re2::RE2::PartialMatch(line, kLine, &failure, &wish)) return std::nullopt;
  return std::stoull(failure.empty() ? wish : failure);
}

std::string recovery_line(const Change& change, std::size_t ranks, const v1::Recovery& recovery) {
  if (!change.lost) {
    return fmt::format("{}: {} from step {} on, training paused for {:.2f} s", change.text,
                       count(ranks), recovery.step(), recovery.seconds());
  }
  return fmt::format("{}; {} went on with step {} after {:.2f} s{}", change.text, count(ranks),
                     recovery.step(), recovery.seconds(),
                     recovery.ran_again() ? ", which was run again" : "");
}

}  // namespace musher
