#include "coordinator/hangs.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace musher {

namespace {

using std::chrono::milliseconds;
using Report = v1::ReportRequest;

const char* phase_name(Report::Phase phase) {
  switch (phase) {
    case Report::LOADING:
      return "loading";
    case Report::TRAINING:
      return "training";
    case Report::VALIDATING:
      return "validating";
    case Report::SAVING:
      return "saving a checkpoint";
    case Report::UPLOADING:
      return "uploading";
    default:
      return "starting";
  }
}

const char* activity_name(Report::Activity activity) {
  switch (activity) {
    case Report::WAITING_FOR_DATA:
      return ", waiting for data";
    case Report::COMPUTING:
      return ", computing";
    case Report::WAITING_FOR_RANKS:
      return ", waiting for other ranks";
    case Report::WRITING:
      return ", writing";
    case Report::RECOVERING:
      return ", recovering";
    default:
      return "";
  }
}

std::string what_it_did(const RankSign& rank) {
  return fmt::format("it was {} at step {}{}", phase_name(rank.phase), rank.step,
                     activity_name(rank.activity));
}

/// A rank that waits for others may wait for one that hangs.
bool answers_for_itself(Report::Activity activity) {
  return activity == Report::WAITING_FOR_DATA || activity == Report::COMPUTING ||
         activity == Report::WRITING;
}

double seconds(milliseconds time) {
  return std::chrono::duration<double>(time).count();
}

}  // namespace

Hang find_hang(const std::vector<RankSign>& ranks, milliseconds limit,
               Deadline::Clock::time_point now) {
  Hang worst;
  milliseconds longest{0};
  const auto blame = [&](const RankSign& rank, milliseconds time, std::string why) {
    if (time < limit || time <= longest) return;
    longest = time;
    worst = {Hang::Kind::kRank, rank.rank,
             fmt::format("hung: {} for {:.0f} s; {}", why, std::floor(seconds(time)),
                         what_it_did(rank))};
  };
  for (const RankSign& rank : ranks) {
    blame(rank, std::chrono::floor<milliseconds>(now - rank.heard), "no heartbeat");
    if (answers_for_itself(rank.activity)) {
      blame(rank, rank.activity_for, "its training thread showed no sign of life");
    }
  }
  if (worst.kind == Hang::Kind::kRank || ranks.empty()) return worst;
  const bool all_wait = std::all_of(ranks.begin(), ranks.end(), [&](const RankSign& rank) {
    return rank.activity == Report::WAITING_FOR_RANKS && rank.activity_for >= limit;
  });
  if (!all_wait) return {};
  return {Hang::Kind::kCollective, -1,
          fmt::format("every rank has waited for the others for {:.0f} s", seconds(limit))};
}

}  // namespace musher
