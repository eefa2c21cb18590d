#include "trainer/checkpoint_format.h"

#include <cmath>

#include <fmt/format.h>

#include "common/checksum.h"
#include "common/error.h"

namespace musher {
namespace {

using Json = nlohmann::ordered_json;

/// 64-bit numbers as text, since JSON readers hold them as doubles.
Json digest_json(const Digest& digest) {
  return {{"samples", digest.samples}, {"sum", hex64(digest.sum)}};
}

Digest digest_from(const Json& json) {
  return {json.at("samples").get<std::uint64_t>(),
          std::stoull(json.at("sum").get<std::string>(), nullptr, 16)};
}

Json identity_json(const CheckpointIdentity& identity) {
  Json json = {{"model", hex64(identity.model)},
               {"data", hex64(identity.data)},
               {"parameters", identity.parameters},
               {"batch_size", identity.batch_size},
               {"virtual_workers", identity.virtual_workers},
               {"seed", std::to_string(identity.seed)},
               {"optimizer", identity.optimizer}};
  if (identity.frozen != 0) json["frozen"] = hex64(identity.frozen);
  if (identity.average) json["average"] = true;
  return json;
}

}  // namespace

ElementRange slice_range(std::int64_t total, Slicing slicing) {
  const std::int64_t begin = total * slicing.slice / slicing.slices;
  return {begin, total * (slicing.slice + 1) / slicing.slices - begin};
}

std::string slice_name(Slicing slicing) {
  return fmt::format("slice-{:05}-of-{:05}.safetensors", slicing.slice, slicing.slices);
}

Json header_json(const CheckpointIdentity& identity, const TrainingState& state, int slices) {
  Json header = {
      {"identity", identity_json(identity)}, {"step", state.step}, {"world_size", slices}};
  header["tally"] = {{"digest", digest_json(state.tally.digest)},
                     {"undecodable", digest_json(state.tally.undecodable)},
                     {"loss_sum", state.tally.loss_sum},
                     {"measures", state.tally.measures}};
  header["optimizer"] = {{"steps", state.optimizer.steps}};
  if (const LossScale& scale = state.optimizer.loss_scale; scale.scale > 0) {
    header["optimizer"]["loss_scale"] = scale.scale;
    header["optimizer"]["good_steps"] = scale.good_steps;
  }
  // JSON has no NaN: null.
  for (const double value : state.metric_by_epoch) header["metric_by_epoch"].push_back(value);
  return header;
}

TrainingState state_from(const Json& header) {
  TrainingState state;
  state.step = header.at("step").get<std::uint64_t>();
  const Json& tally = header.at("tally");
  state.tally.digest = digest_from(tally.at("digest"));
  state.tally.undecodable = digest_from(tally.at("undecodable"));
  state.tally.loss_sum = tally.at("loss_sum").get<double>();
  tally.at("measures").get_to(state.tally.measures);
  const Json optimizer = header.value("optimizer", Json::object());
  state.optimizer.steps = optimizer.value("steps", static_cast<std::int64_t>(state.step));
  state.optimizer.loss_scale = {optimizer.value("loss_scale", 0.0),
                                optimizer.value("good_steps", std::int64_t{0})};
  for (const Json& value : header.value("metric_by_epoch", Json::array())) {
    state.metric_by_epoch.push_back(value.is_null() ? std::nan("") : value.get<double>());
  }
  return state;
}

void check_identity(const Json& header, const CheckpointIdentity& mine, const std::string& where) {
  const Json& theirs = header.at("identity");
  std::string differences;
  const Json ours = identity_json(mine);
  for (const auto& [key, value] : ours.items()) {
    const Json other = theirs.value(key, Json());
    if (other == value) continue;
    differences += fmt::format("{}{} {} where this job has {}", differences.empty() ? "" : ", ",
                               key, other.dump(), value.dump());
  }
  if (!differences.empty()) {
    throw Error(ErrorCode::kFailedPrecondition,
                "checkpoint " + where + " belongs to another training: " + differences +
                    "; name another CheckpointConfig.S3Uri or make the job the same");
  }
}

}  // namespace musher
