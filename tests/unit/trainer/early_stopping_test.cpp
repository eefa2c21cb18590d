#include "trainer/early_stopping.h"

#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace musher {
namespace {

struct Case {
  std::string name;
  std::string metric;
  double tolerance;
  std::vector<double> by_epoch;
  bool stop;
  std::size_t best_epoch;
};

void PrintTo(const Case& one, std::ostream* out) {
  *out << one.name;
}

class Early : public testing::TestWithParam<Case> {};

// Patience 2, at least 3 epochs.
TEST_P(Early, Stop) {
  const Case& one = GetParam();
  Hyperparameters hyper;
  hyper.early_stopping_metric = one.metric;
  hyper.early_stopping_patience = 2;
  hyper.early_stopping_min_epochs = 3;
  hyper.early_stopping_tolerance = one.tolerance;
  const EarlyStop result = early_stop(hyper, one.by_epoch);
  EXPECT_EQ(result.stop, one.stop);
  EXPECT_EQ(result.best_epoch, one.best_epoch);
}

const double kUnknown = std::nan("");

INSTANTIATE_TEST_SUITE_P(
    Cases, Early,
    testing::Values(
        Case{"NoEpochYet", "validation:loss", 0, {}, false, 0},
        Case{"NoMetricAskedFor", "none", 0, {1, 1, 1, 1}, false, 0},
        Case{"StillBetter", "validation:accuracy", 0, {0.1, 0.2, 0.3, 0.4}, false, 3},
        Case{"PatienceIsOver", "validation:accuracy", 0, {0.5, 0.6, 0.5, 0.6}, true, 1},
        Case{"PatienceIsNotOver", "validation:accuracy", 0, {0.4, 0.5, 0.6, 0.5}, false, 2},
        Case{"BeforeTheLeastEpochs", "validation:accuracy", 0, {0.5, 0.4}, false, 0},
        Case{"AtTheLeastEpochs", "validation:accuracy", 0, {0.5, 0.4, 0.4}, true, 0},
        Case{"LossGetsBetterDownwards", "train:loss", 0, {3, 2, 1}, false, 2},
        Case{"LossThatRises", "train:loss", 0, {1, 2, 3}, true, 0},
        Case{"TooSmallAnImprovement", "train:loss", 0.1, {1, 0.95, 0.91}, true, 0},
        Case{"ImprovementOverTheBestNotTheLast", "train:loss", 0.1, {1, 0.95, 0.89}, false, 2},
        Case{"OwnMetricUpwards", "max validation:covered", 0, {1, 2, 3, 4}, false, 3},
        Case{"OwnMetricDownwards", "min validation:covered", 0, {1, 2, 3, 4}, true, 0},
        Case{"DirectionThatIsKnown", "max train:accuracy", 0, {1, 2, 3, 4}, false, 3},
        Case{"UnknownIsNoImprovement", "train:loss", 0, {kUnknown, 1, kUnknown, 2}, true, 1},
        Case{"NothingKnown", "train:loss", 0, {kUnknown, kUnknown, kUnknown}, false, 0}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace musher
