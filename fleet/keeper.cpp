#include "fleet/keeper.h"

#include <algorithm>
#include <array>
#include <string_view>

#include <fmt/format.h>

#include "fleet/fleet.h"

namespace musher {

namespace {

constexpr auto kMakeTime = std::chrono::seconds(180);
constexpr auto kRemoveTime = std::chrono::seconds(600);
constexpr auto kNothingDue = std::chrono::hours(1);

/// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
constexpr std::array<std::string_view, 6> kCapacity = {
    "InsufficientInstanceCapacity", "InsufficientHostCapacity",
    "SpotMaxPriceTooLow",           "VcpuLimitExceeded",
    "MaxSpotInstanceCountExceeded", "InstanceLimitExceeded"};

/// May be otherwise at the next call.
bool passes(const Error& error) {
  return error.code() == ErrorCode::kUnavailable || error.code() == ErrorCode::kDeadlineExceeded;
}

}  // namespace

bool is_capacity(const std::string& aws_code) {
  return std::find(kCapacity.begin(), kCapacity.end(), aws_code) != kCapacity.end();
}

FleetNews news_of(const std::string& fleet, const std::vector<FleetHost>& hosts, int wanted) {
  FleetNews news;
  news.fleet = fleet;
  bool running = true;
  for (const FleetHost& host : hosts) {
    const FleetInstance& instance = host.instance;
    if (!instance.address.empty()) news.ids[instance.address] = instance.id;
    if (!host.trouble.empty()) {
      news.unfit[instance.id] = host.trouble;
    } else if (!host.failure.empty()) {
      news.failure = fmt::format("the set-up of {} failed: {}", instance.id, host.failure);
    }
    running = running && instance.state == "running";
    if (host.ready()) news.hosts.push_back(instance.address);
  }
  const auto ready = news.hosts.size();
  if (ready == static_cast<std::size_t>(wanted) && ready == hosts.size()) return news;
  news.hosts.clear();
  const bool all = hosts.size() == static_cast<std::size_t>(wanted) && running;
  // As SecondaryStatusTransition.StatusMessage has them.
  news.waits_for = fmt::format(
      "{} {} of {} are ready.",
      all ? "Preparing the instances for training." : "Launching requested ML instances.", ready,
      wanted);
  return news;
}

FleetNews news_of(const std::string& fleet, const Error& error, const std::string& aws_code,
                  std::chrono::seconds waited, std::chrono::seconds limit) {
  FleetNews news;
  news.fleet = fleet;
  if (is_capacity(aws_code)) {
    if (waited >= limit) {
      news.failure = fmt::format(
          "CapacityError: Unable to provision requested ML compute capacity for {} s: {}. Please "
          "retry using a different ML instance type.",
          waited.count(), error.what());
    } else {
      news.waits_for = fmt::format(
          "Insufficient capacity error from EC2 while launching instances, retrying! {}",
          error.what());
    }
  } else if (passes(error)) {
    news.waits_for = fmt::format("{}; tries again", error.what());
  } else {
    news.failure = error.what();
  }
  return news;
}

FleetKeeper::FleetKeeper(FleetKeeperOptions options, std::function<void(const FleetNews&)> told,
                         std::function<void(const std::string&)> log)
    : options_(std::move(options)), told_(std::move(told)), log_(std::move(log)) {}

FleetKeeper::~FleetKeeper() {
  std::map<std::string, std::unique_ptr<One>> ones;
  std::vector<Thread> finders;
  {
    const Lock lock(mutex_);
    ending_ = true;
    changed_.notify_all();
    ones.swap(ones_);
    finders.swap(finders_);
  }
  // Their threads are joined here, without the lock.
}

std::filesystem::path FleetKeeper::known_hosts(const std::string& fleet) const {
  return options_.folder / fleet / "known_hosts";
}

bool FleetKeeper::busy() {
  const Lock lock(mutex_);
  return calling_ > 0;
}

FleetReading FleetKeeper::reading() {
  const Lock lock(mutex_);
  return meter_.read(Deadline::Clock::now());
}

FleetKeeper::One& FleetKeeper::add(const std::string& fleet) {
  // Those that are over are joined at once.
  std::erase_if(ones_, [](const auto& entry) { return entry.second->over; });
  auto& one = ones_[fleet] = std::make_unique<One>();
  one->name = fleet;
  one->thread =
      Thread("fleet", [this, &one = *one](const std::stop_token& stop) { run(one, stop); });
  return *one;
}

void FleetKeeper::keep(const FleetSettings& fleet) {
  const Lock lock(mutex_);
  const auto known = ones_.find(fleet.name);
  One& one = known != ones_.end() ? *known->second : add(fleet.name);
  if (one.want == Want::kReady && one.settings.replaced == fleet.replaced) return;
  one.settings = fleet;
  one.want = Want::kReady;
  ++one.asked;
  one.short_since.reset();
  changed_.notify_all();
}

void FleetKeeper::want(const std::string& fleet, Want want) {
  const Lock lock(mutex_);
  const auto known = ones_.find(fleet);
  if (known == ones_.end() && want == Want::kRest) return;
  One& one = known != ones_.end() ? *known->second : add(fleet);
  if (one.want == Want::kGone && want == Want::kRest) return;
  if (one.want != want) ++one.asked;
  one.want = want;
  changed_.notify_all();
}

void FleetKeeper::rest(const std::string& fleet) {
  want(fleet, Want::kRest);
}

void FleetKeeper::give_back(const std::string& fleet) {
  want(fleet, Want::kGone);
}

/// False: it ends.
bool FleetKeeper::wait(Lock& lock, std::chrono::milliseconds pause,
                       const std::function<bool()>& changed) {
  changed_.wait_for(lock, pause, [&] { return ending_ || changed(); });
  return !ending_;
}

void FleetKeeper::run(One& one, const std::stop_token& stop) {
  Lock lock(mutex_);
  while (!stop.stop_requested() && !ending_) {
    const Want want = one.want;
    const int asked = one.asked;
    std::chrono::milliseconds pause = options_.pause;
    if (want == Want::kRest) {
      pause = kNothingDue;
    } else {
      const FleetSettings settings = one.settings;
      ++calling_;
      lock.unlock();
      bool gone = false;
      if (want == Want::kGone) {
        gone = remove(one.name);
      } else {
        look(one, settings);
      }
      lock.lock();
      --calling_;
      if (gone) meter_.forget(one.name, Deadline::Clock::now());
      // Whoever wanted it anew meanwhile has it made anew.
      if (gone && one.want == Want::kGone) {
        one.over = true;
        return;
      }
    }
    if (!wait(lock, pause, [&] { return one.asked != asked; })) return;
  }
}

/// Who does not become ready in time is no good.
void FleetKeeper::judge_set_up(One& one, std::vector<FleetHost>& hosts) const {
  const auto now = Deadline::Clock::now();
  std::map<std::string, Deadline::Clock::time_point> since;
  for (FleetHost& host : hosts) {
    if (host.instance.state != "running" || !host.key.empty()) continue;
    const auto known = one.set_up_since.find(host.instance.id);
    const auto began = known == one.set_up_since.end() ? now : known->second;
    since[host.instance.id] = began;
    if (host.trouble.empty() && now - began >= options_.set_up_wait) {
      host.trouble = fmt::format("it has not set itself up in {} s", options_.set_up_wait.count());
    }
  }
  one.set_up_since = std::move(since);
}

/// Only the fleet's own thread is here, and in look().
FleetNews FleetKeeper::look_at(One& one, const FleetSettings& settings) {
  const Deadline deadline = Deadline::after(kMakeTime);
  const Fleet fleet = fleet_up(
      options_.access, settings,
      [&](const std::string& text) { log_(fmt::format("fleet {}: {}", settings.name, text)); },
      deadline);
  {
    const Lock lock(mutex_);
    meter_.count_started(fleet.started);
    meter_.see(settings.name, fleet.instances, Deadline::Clock::now());
  }
  const FleetFolder folder(options_.folder / settings.name);
  std::vector<FleetHost> hosts = folder.look_at(options_.access, fleet.instances, deadline);
  judge_set_up(one, hosts);
  folder.write(hosts, 1);
  FleetNews news = news_of(settings.name, hosts, settings.instances);
  news.until = fleet.until;
  return news;
}

void FleetKeeper::look(One& one, const FleetSettings& settings) {
  FleetNews news;
  const auto failed = [&](const Error& error, const std::string& aws_code) {
    const auto now = Deadline::Clock::now();
    if (is_capacity(aws_code) && !one.short_since) one.short_since = now;
    const auto waited =
        std::chrono::floor<std::chrono::seconds>(now - one.short_since.value_or(now));
    news = news_of(settings.name, error, aws_code, waited, options_.capacity_wait);
  };
  try {
    news = look_at(one, settings);
    one.short_since.reset();
  } catch (const AwsError& error) {
    {
      const Lock lock(mutex_);
      meter_.count_failure(error.call(), error.aws_code());
    }
    failed(error, error.aws_code());
  } catch (const Error& error) {
    failed(error, "");
  } catch (const std::exception& error) {
    failed(Error(ErrorCode::kInternal, error.what()), "");
  }
  told_(news);
}

/// Whether it is gone.
bool FleetKeeper::remove(const std::string& fleet) try {
  fleet_down(
      options_.access, fleet,
      [&](const std::string& text) { log_(fmt::format("fleet {}: {}", fleet, text)); },
      Deadline::after(kRemoveTime));
  std::error_code ignored;
  std::filesystem::remove_all(options_.folder / fleet, ignored);
  log_(fmt::format("fleet {} is given back", fleet));
  return true;
} catch (const std::exception& error) {
  log_(fmt::format("fleet {} can't be given back yet: {}", fleet, error.what()));
  return false;
}

void FleetKeeper::give_back_others(const std::string& tag, const std::string& value,
                                   const std::set<std::string>& but) {
  const Lock lock(mutex_);
  finders_.emplace_back("fleets", [this, tag, value, but](const std::stop_token& stop) {
    find_others(tag, value, but, stop);
  });
}

void FleetKeeper::find_others(const std::string& tag, const std::string& value,
                              const std::set<std::string>& but, const std::stop_token& stop) {
  Lock lock(mutex_);
  while (!stop.stop_requested() && !ending_) {
    ++calling_;
    lock.unlock();
    std::optional<std::vector<std::string>> found;
    try {
      found = fleets_with_tag(options_.access, tag, value, Deadline::after(kMakeTime));
    } catch (const std::exception& error) {
      log_(fmt::format("fleets that no job needs can't be looked for yet: {}", error.what()));
    }
    lock.lock();
    --calling_;
    if (found) {
      for (const std::string& fleet : *found) {
        if (ones_.contains(fleet) || but.contains(fleet)) continue;
        log_(fmt::format("fleet {} is of no job that waits or runs", fleet));
        add(fleet).want = Want::kGone;
      }
      return;
    }
    if (!wait(lock, 12 * options_.pause, [] { return false; })) return;
  }
}

}  // namespace musher
