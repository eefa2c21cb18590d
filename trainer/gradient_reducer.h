#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "common/deadline.h"
#include "model/gradient_places.h"
#include "trainer/collective/collective.h"
#include "trainer/flat_parameters.h"

namespace musher {

/// Sums gradients over ranks while backward still produces them. Parameters are grouped into
/// buckets, ranges of the flat gradient buffer of about `bucket_bytes`, in the buffer's order; when
/// the last gradient of a bucket has arrived and all buckets before it are on their way, its
/// all-reduce starts. The buffer's tail travels with the last bucket. Bucketing and overlap as in
/// Li et al., "PyTorch Distributed" (VLDB 2020); unlike there, a gradient is copied into its slot
/// once and then dropped, never zeroed and added to; or the layer has written it there itself.
///
/// A step: begin(); backward, once or several times; finish(). One thread, that of backward on a
/// CPU.
class GradientReducer {
 public:
  /// All must outlive it. `collective` may be replaced between two steps. `bucket_bytes` must
  /// be the same on all ranks.
  /// `places`, which may be null, are offered the parameters' slots before backward.
  GradientReducer(FlatParameters& parameters, std::int64_t bucket_bytes,
                  GradientPlaces* places = nullptr);
  ~GradientReducer();
  GradientReducer(const GradientReducer&) = delete;
  GradientReducer& operator=(const GradientReducer&) = delete;

  /// `backwards`: how many backward passes this step's gradient is the sum of; a bucket leaves in
  /// the last one. 0 for a rank without samples: its gradient is zero.
  void begin(Collective& collective, int backwards);

  /// Call before each backward pass.
  void begin_backward();

  /// Starts what backward left (parameters that took no part have gradient zero) and waits for all:
  /// then the gradient buffer holds the sum over ranks. Throws PeerFailure; then the buffer's
  /// content is undefined and the step is not committed.
  void finish(Deadline deadline);

  /// Elements of each bucket, for the record.
  std::vector<std::int64_t> bucket_sizes() const;
  /// Seconds that finish() has waited in all: communication that was not hidden behind backward.
  double waited_seconds() const { return waited_seconds_; }

 private:
  struct Bucket {
    std::int64_t begin = 0;
    std::int64_t end = 0;
    int slots = 0;    ///< parameters in it
    int pending = 0;  ///< of those, gradients still to come in the last pass
  };
  class Hook;

  void on_gradient(std::size_t slot);
  void start_ready_buckets();

  at::Tensor place_of(const ParameterSlot& slot) const;

  FlatParameters& parameters_;
  GradientPlaces* places_;
  std::vector<Bucket> buckets_;
  std::vector<std::size_t> bucket_of_slot_;
  std::vector<bool> filled_;  ///< slot has a gradient in this step
  Collective* collective_ = nullptr;
  int passes_left_ = 0;
  std::size_t next_bucket_ = 0;
  std::deque<std::unique_ptr<Work>> under_way_;
  double waited_seconds_ = 0;
};

}  // namespace musher
