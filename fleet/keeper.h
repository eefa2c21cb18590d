#pragma once

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/deadline.h"
#include "common/thread.h"
#include "fleet/aws.h"
#include "fleet/hosts.h"
#include "fleet/meter.h"
#include "fleet/plan.h"

namespace musher {

/// What is known of a fleet that is wanted.
struct FleetNews {
  std::string fleet;
  std::vector<std::string> hosts;            ///< addresses of all its instances, once all are ready
  std::map<std::string, std::string> ids;    ///< address → id, of all that have one
  std::map<std::string, std::string> unfit;  ///< ids of those to be replaced → why: one line each
  std::string waits_for;                     ///< why they are not: one line, in SageMaker's words
  std::string failure;                       ///< not empty: to try again would not help
  std::optional<FleetTime> until;            ///< when all of it ends
  bool operator==(const FleetNews&) const = default;
};

/// Of hosts that were just looked at: all ready, not yet, or one that will not be.
FleetNews news_of(const std::string& fleet, const std::vector<FleetHost>& hosts, int wanted);

/// Of a call to AWS that failed. What EC2 has no room for is tried again until `waited` is over
/// `limit`, and is then SageMaker's CapacityError; what does not reach AWS, without end.
FleetNews news_of(const std::string& fleet, const Error& error, const std::string& aws_code,
                  std::chrono::seconds waited, std::chrono::seconds limit);

/// Whether EC2 has no such instances now, or this account may not have so many.
bool is_capacity(const std::string& aws_code);

struct FleetKeeperOptions {
  AwsAccess access;
  std::filesystem::path folder;            ///< of the key to all hosts, and a folder for each fleet
  std::chrono::milliseconds pause{5'000};  ///< from one look at a fleet to the next
  std::chrono::seconds capacity_wait{3600};  ///< for EC2 to have the instances
  std::chrono::seconds set_up_wait{1800};    ///< for a running instance to be ready
};

/// Fleets as they are wanted at present: each is made, mended and removed in a thread of its own,
/// since AWS takes its time. Thread-safe; calls do not wait. What is asked for is remembered by the
/// caller: a keeper that ends leaves all fleets as they are, and the next finds them by their tags.
class FleetKeeper {
 public:
  /// `told` and `log` are called from the fleets' threads, without a lock.
  FleetKeeper(FleetKeeperOptions options, std::function<void(const FleetNews&)> told,
              std::function<void(const std::string&)> log);
  /// Waits for calls to AWS that are under way: see busy().
  ~FleetKeeper();

  /// It is to be there, all its instances ready. Its news are told at every look, until rest().
  /// Again with others that are `replaced`, those are.
  void keep(const FleetSettings& fleet);
  /// It is left as it is, unseen. Nothing where it is not known.
  void rest(const std::string& fleet);
  /// All of it goes, and is tried until it has gone.
  void give_back(const std::string& fleet);
  /// Gives all back that have this tag, but for these and those that were asked for.
  void give_back_others(const std::string& tag, const std::string& value,
                        const std::set<std::string>& but);

  /// By which its hosts are reached.
  std::filesystem::path key() const { return options_.folder / "key"; }
  std::filesystem::path known_hosts(const std::string& fleet) const;

  /// Whether a call to AWS is under way, which the destructor would wait for.
  bool busy();

  /// What there was and is, as AWS was last seen: a fleet that rests is not looked at.
  FleetReading reading();

 private:
  enum class Want { kReady, kRest, kGone };
  struct One {
    std::string name;
    FleetSettings settings;
    Want want = Want::kGone;
    int asked = 0;      ///< how often something else was wanted
    bool over = false;  ///< its thread has nothing more to do
    /// Since when EC2 has no room for it.
    std::optional<Deadline::Clock::time_point> short_since;
    /// Instances that run and are not ready → since when.
    std::map<std::string, Deadline::Clock::time_point> set_up_since;
    Thread thread;
  };
  using Lock = std::unique_lock<std::mutex>;

  One& add(const std::string& fleet);  // REQUIRES: mutex_ is held, and it is not there
  void want(const std::string& fleet, Want want);
  void run(One& one, const std::stop_token& stop);
  bool wait(Lock& lock, std::chrono::milliseconds pause, const std::function<bool()>& changed);
  void look(One& one, const FleetSettings& settings);
  FleetNews look_at(One& one, const FleetSettings& settings);
  void judge_set_up(One& one, std::vector<FleetHost>& hosts) const;
  bool remove(const std::string& fleet);
  void find_others(const std::string& tag, const std::string& value,
                   const std::set<std::string>& but, const std::stop_token& stop);

  const FleetKeeperOptions options_;
  const std::function<void(const FleetNews&)> told_;
  const std::function<void(const std::string&)> log_;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool ending_ = false;
  int calling_ = 0;  ///< threads that wait for AWS
  FleetMeter meter_;
  std::map<std::string, std::unique_ptr<One>> ones_;
  std::vector<Thread> finders_;
};

}  // namespace musher
