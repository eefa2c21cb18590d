#include "trainer/rate_multipliers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"

namespace musher {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::vector<std::string> kParameters = {"conv1.weight", "layer1.0.conv1.weight",
                                              "layer1.1.conv1.weight", "layer10.weight",
                                              "fc.weight"};

TEST(RateMultipliers, AreOneWhereNothingIsNamed) {
  EXPECT_THAT(rate_multipliers({}, kParameters, "fc."), ElementsAre(1, 1, 1, 1, 1));
}

TEST(RateMultipliers, TheLongestNameCountsAndNamesEndAtDots) {
  EXPECT_THAT(rate_multipliers({{"layer1.1", 3}, {"layer1", 2}}, kParameters, ""),
              ElementsAre(1, 2, 3, 1, 1));
  EXPECT_THAT(rate_multipliers({{"layer1", 2}, {"layer1.1.conv1.weight", 3}}, kParameters, ""),
              ElementsAre(1, 2, 3, 1, 1));
}

TEST(RateMultipliers, HeadAndBackboneAreWhatIsNotNamed) {
  EXPECT_THAT(rate_multipliers({{"conv1", 0}, {"backbone", 0.1}, {"head", 2}}, kParameters, "fc."),
              ElementsAre(0, 0.1, 0.1, 0.1, 2));
}

std::string complaint(const std::vector<std::pair<std::string, double>>& wanted,
                      const std::string& head_prefix,
                      const std::vector<std::string>& parameters = kParameters) {
  try {
    rate_multipliers(wanted, parameters, head_prefix);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
  return "";
}

TEST(RateMultipliers, ANameThatMatchesNothingIsAnErrorThatSaysWhatThereIs) {
  EXPECT_THAT(complaint({{"layer", 2}}, "fc."),
              HasSubstr("is in \"layer\"; the model's begin with conv1, layer1, layer10, fc"));
  EXPECT_THAT(complaint({{"backbone", 2}}, "fc.", {"fc.weight"}), HasSubstr("\"backbone\""))
      << "frozen";
  EXPECT_THAT(complaint({{"head", 2}}, ""), HasSubstr("needs a built-in model"));
}

}  // namespace
}  // namespace musher
