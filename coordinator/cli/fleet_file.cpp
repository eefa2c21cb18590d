#include "coordinator/cli/fleet_file.h"

#include "coordinator/cli/fleet_options.h"
#include "fleet/hosts.h"

namespace musher::cli {

namespace {

constexpr auto kKeyTime = std::chrono::seconds(60);

/// With a job that could be, so that what is wrong is known before there is one.
void check_with_a_job(FleetSettings settings) {
  settings.name = "job";
  settings.instances = 1;
  settings.type = "c7i.large";
  check_settings(settings);
}

}  // namespace

RentSettings read_fleet_file(const std::string& path, const std::filesystem::path& state) {
  static const Command file = {"fleet", "", "", nullptr};
  RentSettings rent;
  FleetOptions fleet;
  rent.ssh_user = "admin";
  std::int64_t capacity_wait = rent.capacity_wait.count();
  Options options(file);
  fleet.add_common_to(options);
  add_aws_options(options, &rent.aws);
  options.add("max-instances", &rent.max_instances, "N", "of all jobs at once; needed");
  options.add("ssh-user", &rent.ssh_user, "NAME", "the user on the instances (admin)");
  options.add("capacity-wait", &capacity_wait, "SECONDS",
              "for EC2 to have the instances; then the job fails with a CapacityError (3600)");
  options.parse_file(path);
  try {
    rent.capacity_wait = std::chrono::seconds(capacity_wait);
    rent.fleet = fleet.settings("");
    if (rent.max_instances < 1) {
      throw Error(ErrorCode::kInvalidArgument,
                  "max-instances must be at least 1: how many may be rented at once");
    }
    check_with_a_job(rent.fleet);
  } catch (const Error& error) {
    throw Error(error.code(), path + ": " + error.what());
  }
  const FleetFolder folder(state / "fleets");
  rent.folder = folder.key().parent_path();
  rent.fleet.public_key = folder.public_key(Deadline::after(kKeyTime));
  return rent;
}

}  // namespace musher::cli
