#include "trainer/fault.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <iostream>
#include <thread>
#include <utility>

#include <signal.h>
#include <unistd.h>

#include "common/error.h"

namespace musher {
namespace {

/// In the order in which a run comes by. STEP is the step under way, or that of the state where
/// there is none.
constexpr std::array<std::string_view, 21> kPoints = {
    "enter",                // a newcomer, before it waits for the others to take it in
    "fetch",                // a thread that reads, before the step's samples
    "decode",               // a thread that decodes, before the step's samples
    "forward",              // before it
    "batch-norm",           // of sync_batch_norm in forward: the first sums are on their way
    "backward",             // between forward and backward
    "batch-norm-backward",  // likewise, in backward
    "all-reduce",           // some buckets are on their way, the last is not
    "collective",           // likewise; with any HOW it never comes to the last, and waits
    "optimizer",            // all is reduced, nothing is applied
    "commit",               // applied, and nobody told
    "validation",           // before the first batch of it
    "checkpoint",           // the writing thread, before the slice is written
    "checkpoint-told",      // the writing thread, before the coordinator hears of the slice
    "failed",               // a failure is noticed, the collective not shrunk
    "agree",                // shrunk or grown; before all tell where they stand
    "level",                // before who is behind is given the state
    "regroup",              // the leader, before the coordinator is told who goes on
    "regrouped",            // the leader, when it has the answer and the others have not
    "upload",               // before the artifact is written
    "published",            // the leader, when the artifact stands and the others do not know
};

constexpr std::array<std::pair<std::string_view, int>, 5> kHow = {
    {{"KILL", SIGKILL}, {"ABRT", SIGABRT}, {"STOP", SIGSTOP}, {"TERM", SIGTERM}, {"HANG", 0}}};

constexpr auto kForever = std::chrono::hours(24);

template <typename Number>
bool parse_number(std::string_view text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> words(1);
  for (const char c : text) {
    if (c == ':') {
      words.emplace_back();
    } else {
      words.back() += c;
    }
  }
  return words;
}

}  // namespace

Fault parse_fault(const std::string& text) {
  const auto refuse = [&](const std::string& why) {
    return Error(ErrorCode::kInvalidArgument, "--inject-fault " + text + ": " + why);
  };
  const std::vector<std::string> words = split(text);
  if (words.size() != 3 && words.size() != 4) throw refuse("must be MEMBER:POINT:STEP[:HOW]");
  Fault fault;
  fault.text = text;
  if (!parse_number(words[0], fault.member)) throw refuse("MEMBER must be a rank's number");
  fault.point = words[1];
  if (std::find(kPoints.begin(), kPoints.end(), fault.point) == kPoints.end()) {
    std::string names;
    for (const std::string_view point : kPoints) names.append(" ").append(point);
    throw refuse("POINT must be one of" + names);
  }
  std::uint64_t step = 0;
  if (parse_number(words[2], step)) {
    fault.step = step;
  } else if (words[2] != "any") {
    throw refuse("STEP must be a number or `any`");
  }
  if (words.size() < 4) return fault;
  const auto how = std::find_if(kHow.begin(), kHow.end(),
                                [&](const auto& one) { return one.first == words[3]; });
  if (how == kHow.end()) throw refuse("HOW must be KILL, ABRT, STOP, TERM or HANG");
  fault.signal = how->second;
  return fault;
}

Faults::Faults(const std::vector<Fault>& all, int member) {
  for (const Fault& fault : all) {
    if (fault.member == member) faults_.push_back(fault);
  }
}

const Fault* Faults::find(std::string_view point, std::uint64_t step) const {
  for (const Fault& fault : faults_) {
    if (fault.point != point || fault.step.value_or(step) != step || fault.done->exchange(true))
      continue;
    std::cerr << "musher-trainer: injected fault " << fault.text << " at step " << step
              << std::endl;
    return &fault;
  }
  return nullptr;
}

void Faults::at(std::string_view point, std::uint64_t step) const {
  const Fault* fault = find(point, step);
  if (fault == nullptr) return;
  if (fault->signal == 0) {
    while (true) std::this_thread::sleep_for(kForever);
  }
  ::kill(::getpid(), fault->signal);
}

void Faults::lose_collective(std::uint64_t step, const std::function<bool()>& given_up) const {
  if (find("collective", step) == nullptr) return;
  while (!given_up()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
}

std::function<void(std::string_view, std::uint64_t)> Faults::probe() const {
  if (faults_.empty()) return {};
  return [faults = *this](std::string_view point, std::uint64_t step) { faults.at(point, step); };
}

}  // namespace musher
