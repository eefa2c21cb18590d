// musher access

#include <fstream>
#include <iostream>
#include <sstream>

#include <nlohmann/json.hpp>

#include "coordinator/cli/command.h"
#include "serving/access/access_keys.h"

namespace musher::cli {

namespace {

using Json = nlohmann::ordered_json;

std::string read_file(const std::string& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in) throw Error(ErrorCode::kNotFound, "--policy " + path + " can't be read");
  return text.str();
}

/// As `aws iam create-access-key` prints it. The one time that the secret is shown.
void print_created(const std::string& user, const AccessKeys::Created& key) {
  const Json json = {{"AccessKey",
                      {{"UserName", user},
                       {"AccessKeyId", key.id},
                       {"Status", "Active"},
                       {"SecretAccessKey", key.secret}}}};
  std::cout << json.dump(4) << "\n";
}

void print_list(const AccessKeys& keys) {
  Json list = Json::array();
  for (const AccessKeys::Summary& key : keys.list()) {
    list.push_back({{"UserName", key.user},
                    {"AccessKeyId", key.id},
                    {"Status", "Active"},
                    {"CreateDate", key.created},
                    {"PolicyDocument", Json::parse(key.policy_json)}});
  }
  std::cout << Json{{"AccessKeyMetadata", list}}.dump(4) << "\n";
}

int run(const Command& command, const std::vector<std::string>& words) {
  std::string verb;
  std::string name;
  std::string folder;
  std::string policy;
  Options options(command);
  options.positional("VERB", &verb);
  options.optional_positional("NAME", &name);
  options.add("keys", &folder, "FOLDER", "where the keys lie, its owner's alone; needed");
  options.add("policy", &policy, "FILE", "of create: an IAM policy document; needed");
  if (!options.parse(words)) return kOk;
  const auto need = [](bool given, const char* what) {
    if (!given) {
      throw Error(ErrorCode::kInvalidArgument,
                  std::string(what) + " is missing; see musher access --help");
    }
  };
  need(!folder.empty(), "--keys");
  if (verb == "create") {
    need(!name.empty(), "USER");
    need(!policy.empty(), "--policy");
    print_created(name, AccessKeys(folder).create(name, read_file(policy)));
  } else if (verb == "list") {
    print_list(AccessKeys(folder));
  } else if (verb == "delete") {
    need(!name.empty(), "KEY-ID");
    AccessKeys(folder).remove(name);
  } else {
    throw Error(ErrorCode::kInvalidArgument,
                "musher access has create, list and delete, not \"" + verb + "\"");
  }
  return kOk;
}

}  // namespace

const Command kAccess = {
    "access", "create USER --policy FILE | list | delete KEY-ID",
    "Make, list and delete the keys that requests to an endpoint are signed with. Each has a "
    "policy "
    "of IAM's form; its secret is printed once, when it is made, and can't be read again.",
    run};

}  // namespace musher::cli
