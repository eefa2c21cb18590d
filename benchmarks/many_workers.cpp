// Many ranks of one job on one coordinator, over real gRPC, a connection each. Nothing is trained:
// what they ask and report is what trainers ask and report, as often as the coordinator tells them.
//
//   many_workers serve DIR N [CERTIFICATES]   a coordinator for them; prints address, token
//   many_workers work ADDRESS TOKEN N S       N ranks for S seconds; prints lines of JSON
//
// With CERTIFICATES, a folder that `musher certs` made, all goes over mutual TLS.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <mutex>
#include <queue>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>
#include <signal.h>
#include <unistd.h>

#include "common/error.h"
#include "common/log.h"
#include "coordinator/coordinator.h"
#include "coordinator/job_file.h"
#include "coordinator/server.h"
#include "rpc/tls.h"
#include "trainer/client/channel.h"
#include "workers.grpc.pb.h"

namespace musher {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kJob = "many";
constexpr auto kJoinLimit = std::chrono::seconds(120);

int serve(const std::string& folder, int ranks, const std::string& certificates) {
  sigset_t end;
  sigemptyset(&end);
  sigaddset(&end, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &end, nullptr);
  CoordinatorOptions options;
  options.state = folder + "/state";
  options.hosts = {{"localhost", ranks}};
  options.ranks_are_here = true;
  Coordinator coordinator(options, make_silent_logger());
  const bool tls = !certificates.empty();
  const Server server(coordinator, "127.0.0.1:0", tls ? certificates + "/coordinator" : "");
  coordinator.start(server.address());
  coordinator.create(read_job_file(folder + "/job.json", ranks).request, {ranks, ""});
  while (coordinator.token(kJob).empty()) {
    coordinator.wait_for_change(coordinator.version(),
                                Deadline::after(std::chrono::milliseconds(10)));
  }
  const Endpoint endpoint{server.address(), tls ? certificates + "/worker" : ""};
  std::cout << endpoint.text() << " " << coordinator.token(kJob) << std::endl;
  int number = 0;
  sigwait(&end, &number);
  return 0;
}

/// A rank: a channel with a connection of its own, and one call at a time.
struct Worker {
  int rank = 0;
  std::unique_ptr<v1::Workers::Stub> stub;
  std::unique_ptr<grpc::ClientContext> context;
  v1::JoinReply joined;
  v1::AssignmentRequest ask;
  v1::Assignment assignment;  ///< of the first epoch, whose digest is reported
  v1::Assignment second;
  v1::ReportRequest report;
  v1::ReportReply answer;
  Clock::time_point next;
  Clock::time_point asked;
  bool has_second_epoch = false;
};

/// Milliseconds that calls took.
class Latencies {
 public:
  void add(Clock::duration time) {
    all_.push_back(std::chrono::duration<double, std::milli>(time).count());
  }
  /// {"median": …, "p99": …, "worst": …}
  std::string json() {
    if (all_.empty()) return "null";
    std::sort(all_.begin(), all_.end());
    const auto at = [&](double share) {
      return all_[static_cast<std::size_t>(share * static_cast<double>(all_.size() - 1))];
    };
    return fmt::format(R"({{"median": {:.2f}, "p99": {:.2f}, "worst": {:.1f}}})", at(0.5), at(0.99),
                       at(1));
  }

 private:
  std::vector<double> all_;
};

class Workers {
 public:
  Workers(const std::string& address, const std::string& token, int count)
      : all_(static_cast<std::size_t>(count)) {
    const Endpoint endpoint = Endpoint::parse(address);
    for (int rank = 0; rank < count; ++rank) {
      Worker& worker = all_[static_cast<std::size_t>(rank)];
      worker.rank = rank;
      grpc::ChannelArguments arguments = channel_arguments();
      arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
      arguments.SetInt("musher.rank", rank);
      const auto credentials = channel_credentials(endpoint, arguments);
      worker.stub =
          v1::Workers::NewStub(grpc::CreateCustomChannel(endpoint.address, credentials, arguments));
      v1::RankId& id = *worker.report.mutable_id();
      id.set_job(kJob);
      id.set_attempt(1);
      id.set_rank(rank);
      id.set_token(token);
    }
  }

  /// Seconds until all were answered.
  double join() {
    const auto begin = Clock::now();
    std::vector<v1::JoinRequest> requests(all_.size());
    for (std::size_t i = 0; i < all_.size(); ++i) {
      *requests[i].mutable_id() = all_[i].report.id();
      requests[i].set_world_size(static_cast<int>(all_.size()));
      requests[i].set_host("h" + std::to_string(i / 8));
      start(all_[i], kJoinLimit);
      all_[i].stub->async()->Join(all_[i].context.get(), &requests[i], &all_[i].joined,
                                  [this](const grpc::Status& status) { finished(status); });
    }
    wait_all("Join");
    for (Worker& worker : all_)
      worker.report.mutable_id()->set_generation(worker.joined.generation());
    return seconds_since(begin);
  }

  /// Of the first epoch, all at once.
  double ask_for_assignments() {
    const auto begin = Clock::now();
    for (Worker& worker : all_) {
      *worker.ask.mutable_id() = worker.report.id();
      worker.ask.set_channel("train");
      start(worker, kJoinLimit);
      worker.stub->async()->GetAssignment(worker.context.get(), &worker.ask, &worker.assignment,
                                          [this](const grpc::Status& s) { finished(s); });
    }
    wait_all("GetAssignment");
    for (const Worker& worker : all_) {
      if (worker.assignment.stale()) throw Error(ErrorCode::kInternal, "a rank was called stale");
    }
    return seconds_since(begin);
  }

  /// Each as often as it was told; returns how many reports there were. In the middle an epoch
  /// ends, of which each rank tells in its next report, and before that it asks for its samples of
  /// the second one.
  std::uint64_t train(double seconds) {
    const auto begin = Clock::now();
    const auto end =
        begin + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
    const auto later = [](const Worker* a, const Worker* b) { return a->next > b->next; };
    std::priority_queue<Worker*, std::vector<Worker*>, decltype(later)> due(later);
    for (Worker& worker : all_) {
      // They join together but do not stay in step for long.
      worker.next = begin + interval(worker) * worker.rank / static_cast<int>(all_.size());
      due.push(&worker);
    }
    std::uint64_t reports = 0;
    while (due.top()->next < end) {
      Worker& worker = *due.top();
      due.pop();
      wait_until(worker.next);
      const double age = std::chrono::duration<double>(worker.next - begin).count();
      if (age > seconds / 3 && !std::exchange(worker.has_second_epoch, true)) {
        ask_for_second_epoch(worker);
        worker.next += interval(worker) / 2;
      } else {
        fill(worker, age, age > seconds / 2);
        ++reports;
        report(worker);
        worker.next += interval(worker);
      }
      due.push(&worker);
    }
    wait_all("Report");
    for (const Worker& worker : all_) {
      if (worker.answer.stale()) throw Error(ErrorCode::kInternal, "a rank was called stale");
    }
    return reports;
  }

  Latencies& report_latencies() { return report_latencies_; }
  Latencies& assignment_latencies() { return assignment_latencies_; }

  double longest_heartbeat() const {
    double longest = 0;
    for (const Worker& worker : all_)
      longest = std::max(longest, worker.joined.heartbeat_seconds());
    return longest;
  }

 private:
  static double seconds_since(Clock::time_point then) {
    return std::chrono::duration<double>(Clock::now() - then).count();
  }
  static Clock::duration interval(const Worker& worker) {
    return std::chrono::duration_cast<Clock::duration>(
        std::chrono::duration<double>(worker.joined.heartbeat_seconds()));
  }

  void report(Worker& worker) {
    start(worker, std::chrono::seconds(5));
    worker.stub->async()->Report(worker.context.get(), &worker.report, &worker.answer,
                                 [this, &worker](const grpc::Status& status) {
                                   finished(status, &worker, &report_latencies_);
                                 });
  }

  void ask_for_second_epoch(Worker& worker) {
    worker.ask.set_epoch(1);
    start(worker, kJoinLimit);
    worker.stub->async()->GetAssignment(worker.context.get(), &worker.ask, &worker.second,
                                        [this, &worker](const grpc::Status& status) {
                                          finished(status, &worker, &assignment_latencies_);
                                        });
  }

  void start(Worker& worker, std::chrono::seconds limit) {
    const std::lock_guard lock(mutex_);
    ++running_;
    worker.context = std::make_unique<grpc::ClientContext>();
    worker.context->set_deadline(std::chrono::system_clock::now() + limit);
    worker.asked = Clock::now();
  }

  void finished(const grpc::Status& status, const Worker* worker = nullptr,
                Latencies* latencies = nullptr) {
    const auto now = Clock::now();
    const std::lock_guard lock(mutex_);
    if (!status.ok()) trouble_ = status.error_message();
    if (latencies != nullptr) latencies->add(now - worker->asked);
    --running_;
    changed_.notify_all();
  }

  void wait_all(const char* what) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return running_ == 0; });
    check(what);
  }

  void wait_until(Clock::time_point when) {
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, when, [&] { return Clock::now() >= when; });
    check("Report");
  }

  void check(const char* what) const {
    if (!trouble_.empty()) throw Error(ErrorCode::kInternal, fmt::format("{}: {}", what, trouble_));
  }

  void fill(Worker& worker, double age, bool second_epoch) {
    v1::ReportRequest& report = worker.report;
    report.set_phase(v1::ReportRequest::TRAINING);
    report.set_step(static_cast<std::uint64_t>(age * 10));
    report.set_steps(1'000'000);
    report.set_samples_per_second(1e5);
    report.set_loss(1);
    report.set_step_seconds(0.1);
    report.set_activity(v1::ReportRequest::WAITING_FOR_RANKS);
    report.clear_epochs();
    report.clear_metrics();
    if (!second_epoch || report.epoch() == 1) return;
    report.set_epoch(1);
    v1::EpochReport& epoch = *report.add_epochs();
    epoch.set_samples(worker.assignment.epoch_samples());
    epoch.set_sum(worker.assignment.epoch_sum());
    if (worker.rank != 0) return;
    for (const char* name : {"train:loss", "train:accuracy", "train:samples_per_second"}) {
      v1::Metric& metric = *report.add_metrics();
      metric.set_name(name);
      metric.set_value(0.5);
      metric.set_step(report.step());
      metric.set_time_ms(wall_now().time_since_epoch().count());
    }
  }

  std::vector<Worker> all_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int running_ = 0;
  std::string trouble_;
  Latencies report_latencies_;
  Latencies assignment_latencies_;
};

void say(const std::string& line) {
  std::cout << line << std::endl;
}

int work(const std::string& address, const std::string& token, int ranks, double seconds) {
  Workers workers(address, token, ranks);
  say(fmt::format(R"({{"joined": {:.3f}}})", workers.join()));
  say(fmt::format(R"({{"assigned": {:.3f}}})", workers.ask_for_assignments()));
  const std::uint64_t reports = workers.train(seconds);
  say(fmt::format(R"({{"reports": {}, "heartbeat": {}, "report_ms": {}, "assignment_ms": {}}})",
                  reports, workers.longest_heartbeat(), workers.report_latencies().json(),
                  workers.assignment_latencies().json()));
  return 0;
}

}  // namespace
}  // namespace musher

int main(int argc, char** argv) try {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if ((words.size() == 3 || words.size() == 4) && words[0] == "serve") {
    return musher::serve(words[1], std::stoi(words[2]), words.size() == 4 ? words[3] : "");
  }
  if (words.size() == 5 && words[0] == "work") {
    return musher::work(words[1], words[2], std::stoi(words[3]), std::stod(words[4]));
  }
  std::cerr << "many_workers serve DIR N [CERTIFICATES] | work ADDRESS TOKEN N SECONDS\n";
  return 2;
} catch (const std::exception& error) {
  std::cerr << "many_workers: " << error.what() << "\n";
  return 1;
}
