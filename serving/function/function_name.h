#pragma once

#include <string>
#include <string_view>

namespace musher {

/// What a function is called and where it is, as its ARN says.
struct FunctionName {
  std::string name;
  std::string region = "us-east-1";
  std::string account = "000000000000";

  /// arn:aws:lambda:REGION:ACCOUNT:function:NAME
  std::string arn() const;
  bool operator==(const FunctionName&) const = default;
};

/// kInvalidArgument for a name that Lambda does not take.
void check(const FunctionName& function);

/// The function that a caller means, and of which version.
struct CalledFunction {
  FunctionName function;
  std::string qualifier;  ///< a version or an alias; empty: none given

  /// What a policy must allow: with the qualifier where there is one, as Lambda has it.
  std::string arn() const;
};

/// `given` as Lambda takes it: NAME, ACCOUNT:function:NAME or the whole ARN, the latter two perhaps
/// with `:QUALIFIER` behind. What is left out is `here`'s. A text that is none of these is taken
/// for a name, which no function has.
CalledFunction called_function(std::string_view given, std::string_view qualifier,
                               const FunctionName& here);

}  // namespace musher
