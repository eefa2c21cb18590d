#pragma once

#include <string>
#include <utility>
#include <vector>

namespace musher {

/// What the learning rate of each of `parameters` (names) is multiplied by. `wanted` are names of
/// parameters or of modules ("layer4" is also "layer4.0.conv1.weight", not "layer40.weight"), or
/// `head` and `backbone`: what begins with `head_prefix` and what does not. The longest name that
/// matches counts, these two words last; 1 where none does. kInvalidArgument naming lr_multipliers
/// for a name that matches no parameter, saying which there are, and for `head` or `backbone` where
/// `head_prefix` is empty.
std::vector<double> rate_multipliers(const std::vector<std::pair<std::string, double>>& wanted,
                                     const std::vector<std::string>& parameters,
                                     const std::string& head_prefix);

}  // namespace musher
