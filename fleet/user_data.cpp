#include "fleet/user_data.h"

#include <regex>
#include <sstream>

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "launch/shell.h"

namespace musher {

namespace {

using nlohmann::json;

constexpr const char* kScript = "/usr/local/sbin/musher-host";
constexpr const char* kService = "/etc/systemd/system/musher-budget.service";
constexpr const char* kTimer = "/etc/systemd/system/musher-budget.timer";

/// Survives a reboot. The instance is terminated when it shuts down, as the launch template says.
std::string timer_text(FleetTime until) {
  return fmt::format(
      "[Unit]\nDescription=The fleet's time is up\n[Timer]\nOnCalendar={:%Y-%m-%d %H:%M:%S} "
      "UTC\nPersistent=true\nAccuracySec=1s\n[Install]\nWantedBy=timers.target\n",
      fmt::gmtime(std::chrono::system_clock::to_time_t(until)));
}

constexpr const char* kServiceText =
    "[Unit]\nDescription=Shut down: the fleet's time is up\n[Service]\nType=oneshot\n"
    "ExecStart=/usr/bin/systemctl poweroff\n";

constexpr const char* kFetch = R"(
if ! command -v aws >/dev/null; then
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends awscli >/dev/null
fi
mkdir -p "$root"
aws --region "$region" s3 cp --only-show-errors "$software" - | tar -xz -C "$root"
)";

/// AWS's documented way, with its tests left to `musher hosts check`:
/// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/efa-start-nccl.html. It builds the kernel's
/// module, and brings libfabric and NCCL's plugin (aws-ofi-nccl). 1.51.0 is for Debian 12 too.
constexpr const char* kEfa = R"sh(
if ! test -e /opt/amazon/ofi-nccl; then
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends curl pciutils "linux-headers-$(uname -r)" >/dev/null
  curl -fsS https://efa-installer.amazonaws.com/aws-efa-installer-1.51.0.tar.gz | tar -xz -C /tmp
  (cd /tmp/aws-efa-installer && ./efa_installer.sh -y >/var/log/efa-installer.log 2>&1)
  rm -rf /tmp/aws-efa-installer
fi
)sh";

}  // namespace

std::string host_script(const FleetSettings& settings, const FleetSurroundings& around) {
  std::string text = "#!/bin/bash\n# Made by `musher fleet up`: makes this instance a host.\n";
  text += "set -euo pipefail\nexport DEBIAN_FRONTEND=noninteractive HOME=/root\n";
  text += fmt::format("root={}\ncache={}\nsoftware={}\nregion={}\n",
                      quoted_for_shell(settings.root), quoted_for_shell(settings.cache),
                      quoted_for_shell(settings.software), quoted_for_shell(around.region));
  text += R"(console=$1
keys=${2:-/etc/ssh}
say() { printf '\nmusher-fleet: %s\n' "$*" >>"$console"; }
trap 'say "failed: line $LINENO: $BASH_COMMAND"' ERR
systemctl daemon-reload
systemctl enable --now musher-budget.timer
)";
  if (around.efa_interfaces > 0) text += kEfa;
  if (!settings.software.empty()) text += kFetch;
  text += R"sh(MUSHER_CACHE=$cache "$root/launch/setup" --run-only
chmod -R a+rX "$root" "$cache"
test -x "$root/build/bin/musher-trainer"
say "key $(cut -d ' ' -f 1,2 "$keys/ssh_host_ed25519_key.pub")"
say ready
)sh";
  return text;
}

std::string user_data(const FleetSettings& settings, const FleetSurroundings& around,
                      FleetTime until) {
  const auto file = [](const char* path, const char* mode, const std::string& content) {
    return json{{"path", path}, {"permissions", mode}, {"content", content}};
  };
  const json config = {
      {"ssh_authorized_keys", {settings.public_key}},
      {"disable_root", true},
      {"ssh_pwauth", false},
      {"write_files",
       {file(kService, "0644", kServiceText), file(kTimer, "0644", timer_text(until)),
        file(kScript, "0755", host_script(settings, around))}},
      {"runcmd", {{kScript, "/dev/console"}}},
  };
  return "#cloud-config\n" + config.dump(1) + "\n";
}

HostConsole parse_console(const std::string& text) {
  static const std::regex key(R"(^key (ssh-ed25519 [A-Za-z0-9+/=]+)$)");
  HostConsole console;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
    constexpr std::string_view kMark = "musher-fleet: ";
    const std::size_t at = line.find(kMark);
    if (at == std::string::npos) continue;
    const std::string said = line.substr(at + kMark.size());
    std::smatch found;
    if (std::regex_match(said, found, key)) console.key = found[1];
    if (said == "ready") console.ready = true;
    if (said.starts_with("failed: ")) console.failure = said.substr(8);
  }
  console.ready = console.ready && !console.key.empty();
  if (console.ready) console.failure.clear();
  return console;
}

}  // namespace musher
