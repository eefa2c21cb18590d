#include "serving/access/policy.h"

#include <algorithm>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "serving/access/signed_request.h"

namespace musher {
namespace {

using Json = nlohmann::json;

constexpr int kArnSegments = 6;  // arn:partition:service:region:account:resource

[[noreturn]] void refuse(const std::string& path, const std::string& why) {
  throw Error(ErrorCode::kInvalidArgument, fmt::format("policy: {} {}", path, why));
}

/// The first five segments of an ARN and the rest; fewer where there are fewer.
std::vector<std::string_view> arn_segments(std::string_view arn) {
  std::vector<std::string_view> segments;
  while (static_cast<int>(segments.size()) < kArnSegments - 1) {
    const std::size_t colon = arn.find(':');
    if (colon == arn.npos) break;
    segments.push_back(arn.substr(0, colon));
    arn.remove_prefix(colon + 1);
  }
  segments.push_back(arn);
  return segments;
}

bool matches_arn(std::string_view pattern, std::string_view arn) {
  if (pattern == "*") return true;
  const auto wanted = arn_segments(pattern);
  const auto given = arn_segments(arn);
  return std::ranges::equal(wanted, given, matches_wildcards);
}

}  // namespace

bool matches_wildcards(std::string_view pattern, std::string_view text) {
  std::size_t p = 0;
  std::size_t t = 0;
  std::size_t star = pattern.npos;  // the last one met, and what it has taken so far
  std::size_t taken = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      taken = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != pattern.npos) {
      p = star + 1;
      t = ++taken;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == pattern.npos;
}

/// From JSON, checking each member.
class PolicyReader {
 public:
  static AccessPolicy read(std::string_view text) {
    const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) refuse("the document", "must be a JSON object");
    check_members(json, {"Version", "Id", "Statement"}, "");
    const Json version = json.value("Version", Json("2008-10-17"));
    if (version != "2012-10-17" && version != "2008-10-17")
      refuse("Version", "must be \"2012-10-17\", not " + version.dump());
    if (!json.contains("Statement")) refuse("Statement", "is missing");
    AccessPolicy policy;
    const Json& statements = json["Statement"];
    if (statements.is_array()) {
      for (std::size_t i = 0; i < statements.size(); ++i)
        policy.statements_.push_back(statement(statements[i], fmt::format("Statement[{}]", i)));
    } else {
      policy.statements_.push_back(statement(statements, "Statement"));
    }
    if (policy.statements_.empty()) refuse("Statement", "must not be empty");
    return policy;
  }

 private:
  static void check_members(const Json& json, const std::set<std::string>& known,
                            const std::string& path) {
    for (const auto& [name, value] : json.items()) {
      if (!known.contains(name)) {
        refuse(path + name, "is not supported: a statement has Sid, Effect, Action and Resource");
      }
    }
  }

  static AccessPolicy::Statement statement(const Json& json, const std::string& path) {
    if (!json.is_object()) refuse(path, "must be an object");
    check_members(json, {"Sid", "Effect", "Action", "Resource"}, path + ".");
    AccessPolicy::Statement result;
    const Json effect = json.value("Effect", Json());
    if (effect != "Allow" && effect != "Deny")
      refuse(path + ".Effect", "must be \"Allow\" or \"Deny\", not " + effect.dump());
    result.allow = effect == "Allow";
    for (const std::string& action : strings(json, "Action", path)) {
      if (action != "*" && action.find(':') == action.npos) {
        refuse(path + ".Action",
               "must be SERVICE:ACTION, e.g. \"sagemaker:InvokeEndpoint\", or "
               "\"*\", not \"" +
                   action + "\"");
      }
      result.actions.push_back(lower_case(action));
    }
    result.resources = strings(json, "Resource", path);
    for (const std::string& resource : result.resources) {
      const auto segments = arn_segments(resource);
      if (resource != "*" && (segments.size() != kArnSegments || segments[0] != "arn")) {
        refuse(path + ".Resource",
               "must be an ARN, arn:aws:SERVICE:REGION:ACCOUNT:RESOURCE, or \"*\", not \"" +
                   resource + "\"");
      }
    }
    return result;
  }

  /// A string or a list of them.
  static std::vector<std::string> strings(const Json& json, const char* member,
                                          const std::string& path) {
    const std::string where = path + "." + member;
    const auto found = json.find(member);
    if (found == json.end()) refuse(where, "is missing");
    if (found->is_string()) return {found->get<std::string>()};
    const bool good = found->is_array() && !found->empty() &&
                      std::ranges::all_of(*found, [](const Json& e) { return e.is_string(); });
    if (!good) refuse(where, "must be a string or a list of strings, not " + found->dump());
    return found->get<std::vector<std::string>>();
  }
};

AccessPolicy AccessPolicy::parse(std::string_view json) {
  return PolicyReader::read(json);
}

AccessPolicy::Verdict AccessPolicy::decide(std::string_view action,
                                           std::string_view resource) const {
  const std::string wanted = lower_case(action);
  Verdict verdict = Verdict::kNoAllow;
  for (const Statement& statement : statements_) {
    const bool applies = std::ranges::any_of(statement.actions,
                                             [&](const std::string& pattern) {
                                               return matches_wildcards(pattern, wanted);
                                             }) &&
                         std::ranges::any_of(statement.resources, [&](const std::string& pattern) {
                           return matches_arn(pattern, resource);
                         });
    if (!applies) continue;
    if (!statement.allow) return Verdict::kExplicitDeny;
    verdict = Verdict::kAllowed;
  }
  return verdict;
}

}  // namespace musher
