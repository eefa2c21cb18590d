// Jobs that bring their own hosts: EC2 instances that are rented for a job which names their type,
// and returned when it is over, however it ended. The ledger says which job has which fleet, and is
// written down before AWS is asked; the keeper asks. What AWS has and the ledger has not is found
// by the mark of this state folder, and returned.

#include <algorithm>

#include <fmt/format.h>

#include "coordinator/coordinator.h"
#include "coordinator/host_agent.h"
#include "coordinator/state_mark.h"
#include "rpc/tls.h"

namespace musher {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// Beyond what the coordinator itself gives ranks to save their model.
constexpr seconds kBudgetMargin{60};

std::filesystem::path ledger_file(const std::filesystem::path& state) {
  return state / "fleets.json";
}

FleetTime fleet_time(WallTime time) {
  return std::chrono::floor<seconds>(time);
}

/// How long its instances stay after a job that has run on them.
std::optional<FleetTime> kept_until(const std::optional<JobRecord>& job) {
  if (!job || job->state.attempt == 0 || !job->state.training_end) return std::nullopt;
  const int period = job->request.resource_config().keep_alive_period_in_seconds();
  if (period == 0) return std::nullopt;
  return fleet_time(*job->state.training_end) + seconds(period);
}

int instances_of(const v1::CreateTrainingJobRequest& request) {
  return std::max(1, static_cast<int>(request.resource_config().instance_count()));
}

/// GiB; 0: the job says nothing.
int disk_of(const v1::CreateTrainingJobRequest& request) {
  return request.resource_config().volume_size_in_gb();
}

}  // namespace

/// Before recover(), whose jobs need it.
void Coordinator::open_fleets() {
  const RentSettings& rent = *options_.rent;
  fleet_mark_ = state_mark(options_.state / "fleet-id", 16);
  if (const auto file = ledger_file(options_.state); std::filesystem::exists(file)) {
    fleets_ = parse_ledger(read_text_file(file));
  }
  FleetKeeperOptions options;
  options.access = rent.aws;
  options.folder = rent.folder;
  options.capacity_wait = rent.capacity_wait;
  options.set_up_wait = rent.set_up_wait;
  options.pause = rent.pause;
  keeper_ = std::make_unique<FleetKeeper>(
      std::move(options), [this](const FleetNews& news) { fleet_told(news); },
      [this](const std::string& text) { logger_->info("{}", text); });
  std::set<std::string> known;
  for (const RentedFleet& one : fleets_) known.insert(one.name);
  keeper_->give_back_others(kCoordinatorTag, fleet_mark_, known);
}

bool Coordinator::rents(const v1::CreateTrainingJobRequest& request) const {
  return options_.rent && !ec2_type(request.resource_config().instance_type()).empty();
}

void Coordinator::check_rent(const v1::CreateTrainingJobRequest& request) const {
  if (!rents(request)) return;
  const RentSettings& rent = *options_.rent;
  if (instances_of(request) > rent.max_instances) {
    throw Error(
        ErrorCode::kResourceExhausted,
        fmt::format("ResourceConfig.InstanceCount: {} instances are more than this coordinator "
                    "may rent, {} (max-instances)",
                    instances_of(request), rent.max_instances));
  }
  if (const int disk = disk_of(request); disk > rent.max_disk_gib) {
    throw Error(ErrorCode::kResourceExhausted,
                fmt::format("ResourceConfig.VolumeSizeInGB: {} GiB are more than this coordinator "
                            "may give an instance, {} (max-disk)",
                            disk, rent.max_disk_gib));
  }
}

RentedFleet Coordinator::fleet_wanted(const ActiveJob& job) const {
  RentedFleet fleet;
  fleet.name = fleet_name(job.name(), fleet_mark_, fleet_time(job.state().created));
  fleet.job = fleet.made_for = job.name();
  fleet.type = ec2_type(job.record.request.resource_config().instance_type());
  fleet.instances = instances_of(job.record.request);
  fleet.spot = job.job.spot;
  fleet.disk_gib = disk_of(job.record.request);
  fleet.plan = plan_digest(options_.rent->fleet);
  return fleet;
}

FleetSettings Coordinator::settings_of(const RentedFleet& fleet) const {
  FleetSettings settings = options_.rent->fleet;
  settings.name = fleet.name;
  settings.instances = fleet.instances;
  settings.type = fleet.type;
  settings.spot = fleet.spot;
  if (fleet.disk_gib > 0) settings.disk_gib = std::max(kLeastDiskGib, fleet.disk_gib);
  settings.replaced = fleet.replaced;
  settings.tags[kJobTag] = fleet.made_for;
  settings.tags[kCoordinatorTag] = fleet_mark_;
  return settings;
}

/// How the job's hosts are reached.
HostAccess Coordinator::access_of(const ActiveJob& job) {
  HostAccess access = options_.access;
  if (!job.rented) return access;
  if (const RentedFleet* fleet = fleet_of(fleets_, job.name())) {
    access.ssh.user = options_.rent->ssh_user;
    access.ssh.key = keeper_->key();
    access.ssh.known_hosts = keeper_->known_hosts(fleet->name);
  }
  return access;
}

/// Those of jobs that are over, or are others than when they got it.
void Coordinator::release_fleets(FleetLedger& ledger, FleetTime now) {
  for (const RentedFleet& one : FleetLedger(ledger)) {
    if (one.job.empty()) continue;
    const JobPtr job = find(one.job);
    if (!job) {
      release_fleet(ledger, one.job, kept_until(store_.find(one.job)), now);
    } else if (!job->rented || !same_instances(one, fleet_wanted(*job))) {
      release_fleet(ledger, one.job, std::nullopt, now);
    }
  }
  drop_expired(ledger, now);
}

/// Who gets instances of its own and who returns them, and which attempts begin on them.
void Coordinator::settle_fleets(WallTime wall) {
  const FleetTime now = fleet_time(wall);
  FleetLedger ledger = fleets_;
  release_fleets(ledger, now);
  const std::vector<QueuedJob> queue = queued_jobs(wall, true);
  const FleetLimits limits{
      options_.rent->max_instances,
      seconds(static_cast<std::int64_t>(1800 * options_.rent->fleet.max_hours))};
  std::vector<JobPtr> waiting;
  for (const std::size_t i : queue_order(queue, running_jobs(true), options_.policy)) {
    const JobPtr job = find(queue[i].name);
    if (fleet_of(ledger, job->name()) != nullptr) continue;
    // Who has to wait is not overtaken.
    const bool taken = waiting.empty() && take_fleet(ledger, fleet_wanted(*job), limits, now);
    if (!taken) waiting.push_back(job);
  }
  save_fleets(std::move(ledger));
  for (std::size_t i = 0; i < waiting.size(); ++i) {
    waiting[i]->queue_position = static_cast<int>(i) + 1;
    apply(waiting[i], WaitingExplained{fmt::format(
                          "Waiting for instances: {} of at most {} are rented, and it needs {}.",
                          rented_instances(fleets_), limits.max_instances,
                          instances_of(waiting[i]->record.request))});
  }
  const std::map<std::string, JobPtr> jobs = jobs_;  // which may end meanwhile
  for (const auto& [name, job] : jobs) {
    if (job->rented) tend_fleet(job);
  }
}

/// Written down first: what AWS is asked for is known, whatever happens then.
void Coordinator::save_fleets(FleetLedger ledger) {
  if (ledger == fleets_) return;
  write_private_file(ledger_file(options_.state), ledger_text(ledger));
  ledger.swap(fleets_);
  for (const RentedFleet& before : ledger) {
    if (fleet_named(fleets_, before.name) == nullptr) keeper_->give_back(before.name);
  }
}

/// While an attempt runs they are left alone: its ranks say what befalls them.
void Coordinator::tend_fleet(const JobPtr& job) {
  const RentedFleet* fleet = fleet_of(fleets_, job->name());
  if (fleet == nullptr) return;
  if (!waits_to_start(job->state()) || job->ending) return keeper_->rest(fleet->name);
  job->queue_position = 0;
  keeper_->keep(settings_of(*fleet));
  RentedHosts& rented = *job->rented;
  if (rented.hosts.size() != static_cast<std::size_t>(fleet->instances)) return;
  for (const std::string& host : rented.hosts) {
    if (usable(host)) continue;
    const auto lost = lost_hosts_.find(host);
    return tell_launch(
        job, fmt::format("Launched instance was unhealthy: host {} {}.", host,
                         lost == lost_hosts_.end() ? "is taken back by EC2"
                                                   : "can't be used: " + lost->second.why));
  }
  job->placement = spread_evenly(rented.hosts, job->state().ranks);
  rented.hosts.clear();  // the next attempt's may be others
  rented.waits_for.clear();
  keeper_->rest(fleet->name);
  apply(job, Scheduled{});
}

void Coordinator::tell_launch(const JobPtr& job, const std::string& message) {
  if (std::exchange(job->rented->waits_for, message) == message) return;
  apply(job, Launching{message});
  log_line(job, message);
}

void Coordinator::fleet_told(const FleetNews& news) try {
  const Lock lock(mutex_);
  if (ending_ || address_.empty()) return;
  FleetLedger ledger = fleets_;
  RentedFleet* fleet = fleet_named(ledger, news.fleet);
  if (fleet == nullptr) return;  // it is on its way back
  const std::string owner = fleet->job;
  if (news.until) fleet->until = news.until;
  save_fleets(std::move(ledger));
  const JobPtr job = find(owner);
  if (job && job->rented && waits_to_start(job->state())) take_news(job, news);
} catch (const std::exception& error) {
  logger_->error("fleet {}: {}", news.fleet, error.what());
}

void Coordinator::take_news(const JobPtr& job, const FleetNews& news) {
  if (!news.failure.empty()) return apply(job, JobFailed{news.failure});
  RentedHosts& rented = *job->rented;
  for (const auto& [address, id] : news.ids) {
    const auto before = rented.ids.find(address);
    if (before == rented.ids.end() || before->second == id) continue;
    // Another instance has the address now.
    rented.silent_since.erase(address);
    lost_hosts_.erase(address);
  }
  rented.ids = news.ids;
  for (const auto& [id, why] : news.unfit) {
    if (!replace_rented(job, id, why)) return;
  }
  rented.hosts = news.hosts;
  if (!news.waits_for.empty()) return tell_launch(job, news.waits_for);
  schedule_wanted_ = true;
  notify();
}

/// Jobs whose instances' time is nearly up save what they have; fleets that nobody took go. Returns
/// how long nothing is due.
milliseconds Coordinator::watch_fleets(WallTime now) {
  milliseconds next = milliseconds::max();
  const milliseconds needed = options_.grace.stop + options_.grace.exit + kBudgetMargin;
  for (const RentedFleet& one : FleetLedger(fleets_)) {
    const JobPtr job = one.job.empty() ? nullptr : find(one.job);
    if (!one.until || !job || job->state().stop != StopReason::kNone) continue;
    const milliseconds left = *one.until - now - needed;
    if (left.count() > 0) {
      next = std::min(next, left);
      continue;
    }
    apply(job, StopRequested{StopReason::kMaxRuntime,
                             fmt::format("The time of its instances (max-hours) is up at {}.",
                                         time_text(*one.until))});
  }
  if (const auto expiry = next_expiry(fleets_)) {
    if (*expiry <= now) schedule_wanted_ = true;
    next = std::min(next, std::max(milliseconds(1), milliseconds(*expiry - now)));
  }
  return next;
}

}  // namespace musher
