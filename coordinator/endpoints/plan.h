#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "coordinator/endpoints/places.h"
#include "endpoints.pb.h"

/// What an endpoint does next, decided by pure functions over its record: no processes, no clock.
namespace musher {

/// What is seen of an instance.
struct InstanceSight {
  bool alive = true;
  bool ready = false;      ///< of one that starts: /ping says 200
  bool unhealthy = false;  ///< of one in service: has not answered /ping for too long
  bool drained = false;    ///< nothing is sent to it, and it has answered what it had
  std::string end;         ///< of one that is not alive: its last words
};

/// By the instance's number. One that is not in it is alive, and nothing more is known.
using Sights = std::map<int, InstanceSight>;

/// For a process. Carried out after the record was stored.
struct InstanceStep {
  enum class Kind { kStart, kTerminate, kKill };
  Kind kind;
  int number;
  bool operator==(const InstanceStep&) const = default;
};

struct EndpointPlan {
  bool changed = false;  ///< the record has to be stored
  std::vector<InstanceStep> steps;
  std::vector<v1::ScalingActivity> activities;  ///< with description, cause, status_code
};

/// Limits that are not a person's to choose.
struct EndpointLimits {
  int creation_attempts = 3;  ///< starts that may fail until the endpoint is Failed
  std::int64_t first_pause_ms =
      1'000;  ///< after a start that failed; doubled with each further one
  std::int64_t longest_pause_ms = 30'000;
  std::int64_t drain_ms = 60'000;  ///< for what an instance has; then it is told to end anyway
  std::int64_t stop_ms = 30'000;   ///< from SIGTERM to SIGKILL, as SageMaker has it
};

/// Takes `record` to its next state: instances that ended are forgotten and replaced, those that
/// answer come into service, surplus ones are drained. An update's instances are started beside the
/// old and take over together; the first that does not answer ends the update, and the old go on.
/// Each gets a host of `places`, where there are any; one that is on none of them is replaced, and
/// drained when enough others serve.
EndpointPlan advance(v1::EndpointRecord& record, const Sights& sights, std::int64_t now_ms,
                     const EndpointLimits& limits = {}, const Places& places = {});

/// A person's wish; `advance` does the rest. kFailedPrecondition in another state.
void begin_update(v1::EndpointRecord& record, const v1::EndpointSettings& settings,
                  std::int64_t now_ms);
void begin_delete(v1::EndpointRecord& record, std::int64_t now_ms);

/// The proxy or its port can't be had: for good.
void fail(v1::EndpointRecord& record, const std::string& reason, std::int64_t now_ms);

int count(const v1::EndpointRecord& record, int revision, v1::EndpointInstance::State state);
/// The revision of an update under way; 0: there is none.
int next_revision(const v1::EndpointRecord& record);
/// What an instance was started with.
const v1::EndpointSettings& settings_of(const v1::EndpointRecord& record,
                                        const v1::EndpointInstance& instance);
std::string instance_name(int number);                             ///< i-3
std::string instance_place(const v1::EndpointInstance& instance);  ///< i-3, or i-3 on h1

}  // namespace musher
