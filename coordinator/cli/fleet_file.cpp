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
  std::int64_t set_up_wait = rent.set_up_wait.count();
  std::int64_t replace_after = rent.replace_after.count();
  double pause = 5;
  Options options(file);
  fleet.add_common_to(options);
  add_aws_options(options, &rent.aws);
  options.add("max-instances", &rent.max_instances, "N", "of all jobs at once; needed");
  options.add("ssh-user", &rent.ssh_user, "NAME", "the user on the instances (admin)");
  options.add("capacity-wait", &capacity_wait, "SECONDS",
              "for EC2 to have the instances; then the job fails with a CapacityError (3600)");
  options.add("set-up-wait", &set_up_wait, "SECONDS",
              "for an instance that runs to set itself up; then it is replaced (1800)");
  options.add("replace-after", &replace_after, "SECONDS",
              "that an instance which runs can't be used; then it is replaced (180)");
  options.add("max-replaced", &rent.max_replaced, "N",
              "instances of a job in a row that are replaced; then the job fails (4)");
  options.add("max-disk", &rent.max_disk_gib, "GIB",
              "the most that a job may ask for as VolumeSizeInGB (16384)");
  options.add("look-every", &pause, "SECONDS", "at AWS, while instances are made (5)");
  options.parse_file(path);
  try {
    rent.capacity_wait = std::chrono::seconds(capacity_wait);
    rent.set_up_wait = std::chrono::seconds(set_up_wait);
    rent.replace_after = std::chrono::seconds(replace_after);
    rent.pause = std::chrono::milliseconds(static_cast<std::int64_t>(1000 * pause));
    rent.fleet = fleet.settings("");
    if (rent.max_instances < 1) {
      throw Error(ErrorCode::kInvalidArgument,
                  "max-instances must be at least 1: how many may be rented at once");
    }
    if (capacity_wait < 0 || set_up_wait < 1 || replace_after < 0 || rent.max_replaced < 0 ||
        pause < 0.1) {
      throw Error(
          ErrorCode::kInvalidArgument,
          "capacity-wait, replace-after and max-replaced must be at least 0, set-up-wait at "
          "least 1, look-every at least 0.1");
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
