// musher certs

#include <filesystem>
#include <iostream>

#include "coordinator/cli/command.h"
#include "rpc/certificates.h"
#include "rpc/tls.h"

namespace musher::cli {

namespace {

namespace fs = std::filesystem;

constexpr int kAuthorityDays = 3650;

/// That in `folder`, or a new one where there is none.
Identity authority_in(const fs::path& folder) {
  if (!fs::exists(folder)) {
    Identity made = make_authority(Validity::days(kAuthorityDays));
    write_tls_folder(folder, made.certificate, made);
    return made;
  }
  check_tls_folder(folder);
  return {read_text_file(folder / "certificate.pem"), read_text_file(folder / "key.pem")};
}

int run(const Command& command, const std::vector<std::string>& words) {
  std::string out;
  std::vector<std::string> names;
  int days = 365;
  Options options(command);
  options.positional("DIR", &out);
  options.add("days", &days, "N", "how long the certificates are good (365)");
  options.add("name", &names, "HOST",
              "a name or address to put into the certificates of coordinator and server, for "
              "programs other than Musher's, such as boto3; may be repeated");
  if (!options.parse(words)) return kOk;
  if (days < 1 || days > kAuthorityDays) {
    throw Error(ErrorCode::kInvalidArgument, "--days must be 1 to 3650");
  }
  const Identity authority = authority_in(fs::path(out) / "authority");
  const Validity validity = Validity::days(days);
  for (const auto& [folder, role] :
       {std::pair("coordinator", Role::kCoordinator), std::pair("worker", Role::kWorker),
        std::pair("client", Role::kClient)}) {
    const bool is_coordinator = role == Role::kCoordinator;
    write_tls_folder(
        fs::path(out) / folder, authority.certificate,
        issue(authority, role, validity, is_coordinator ? names : std::vector<std::string>()));
    std::cout << (fs::path(out) / folder).string() << "\n";
  }
  const fs::path server = fs::path(out) / "server";
  write_tls_folder(server, authority.certificate, issue_server(authority, validity, names));
  std::cout << server.string() << "\n";
  return kOk;
}

}  // namespace

const Command kCerts = {
    "certs", "DIR",
    "Make a private authority and certificates of it: for the coordinator, its workers, its "
    "clients, and servers of models and functions, a folder each. Again on the same DIR it renews "
    "the certificates and keeps the "
    "authority, whose folder belongs where nobody gets at it.",
    run};

}  // namespace musher::cli
