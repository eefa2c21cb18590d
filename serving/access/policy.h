#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace musher {

/// A policy document of IAM's form: statements of Effect, Action and Resource with the wildcards
/// `*` and `?`. Actions match in any case; a resource is an ARN of which each segment is matched by
/// itself (only the last may hold colons), or `*`. A value.
/// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html
class AccessPolicy {
 public:
  /// From JSON. kInvalidArgument with the member's path for what is not of this form: what IAM
  /// knows and this does not (Condition, NotAction, Principal, …) is refused, never passed over.
  static AccessPolicy parse(std::string_view json);

  enum class Verdict { kAllowed, kExplicitDeny, kNoAllow };
  /// A Deny that matches wins over every Allow; what nothing allows is denied.
  Verdict decide(std::string_view action, std::string_view resource) const;

 private:
  struct Statement {
    bool allow = false;
    std::vector<std::string> actions;  ///< lower case
    std::vector<std::string> resources;
  };
  friend class PolicyReader;

  std::vector<Statement> statements_;
};

/// `*` any number of characters, `?` exactly one. In time of at most the product of the lengths.
bool matches_wildcards(std::string_view pattern, std::string_view text);

}  // namespace musher
