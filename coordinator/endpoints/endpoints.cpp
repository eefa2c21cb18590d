#include "coordinator/endpoints/endpoints.h"

#include <fmt/format.h>
#include <google/protobuf/util/time_util.h>
#include <unistd.h>

#include "common/error.h"
#include "coordinator/endpoints/listener.h"
#include "coordinator/endpoints/settings.h"
#include "coordinator/lifecycle.h"
#include "database/state_folder.h"
#include "launch/mpirun.h"

namespace musher {
namespace {

using Lock = std::lock_guard<std::mutex>;
using google::protobuf::util::TimeUtil;

constexpr int kActivities = 50;

void check_program(const std::string& path, const char* what) {
  if (::access(path.c_str(), X_OK) == 0) return;
  throw Error(ErrorCode::kFailedPrecondition,
              fmt::format("{} is not there on the coordinator's machine: {}", path, what));
}

void describe_variant(const v1::EndpointRecord& record, v1::ProductionVariantSummary& variant) {
  variant.set_variant_name("AllTraffic");
  variant.set_current_instance_count(
      count(record, record.revision(), v1::EndpointInstance::InService));
  variant.set_desired_instance_count(record.desired());
}

std::string url_of(const v1::EndpointInstance& instance) {
  if (instance.port() == 0) return "";
  return is_elsewhere(instance) ? fmt::format("https://{}:{}", instance.address(), instance.port())
                                : fmt::format("http://{}:{}", kLoopbackAddress, instance.port());
}

void describe_instances(const v1::EndpointRecord& record, v1::DescribeEndpointResponse& response) {
  for (const v1::EndpointInstance& instance : record.instances()) {
    v1::EndpointInstanceSummary& summary = *response.add_instances();
    summary.set_instance_id(instance_name(instance.number()));
    summary.set_state(instance.state());
    summary.set_revision(instance.revision());
    if (!is_elsewhere(instance)) summary.set_pid(instance.process().pid());
    summary.set_host(instance.host().empty() ? this_machine() : instance.host());
    summary.set_url(url_of(instance));
    *summary.mutable_since() = TimeUtil::MillisecondsToTimestamp(instance.since_ms());
  }
}

}  // namespace

Endpoints::Endpoints(EndpointsOptions options, Logger logger)
    : options_(std::move(options)),
      logger_(std::move(logger)),
      store_(make_folder(options_.folder) / "endpoints.sqlite"),
      hosts_(options_.hostfile, !options_.tls.empty(), logger_) {
  for (v1::EndpointRecord& record : store_.all()) {
    const std::string name = record.name();
    controllers_[name] =
        std::make_shared<EndpointController>(options_, store_, hosts_, logger_, std::move(record));
  }
}

std::vector<Endpoints::ControllerPtr> Endpoints::present() {
  const Lock lock(mutex_);
  std::erase_if(controllers_, [](const auto& entry) { return entry.second->over(); });
  std::vector<ControllerPtr> controllers;
  for (const auto& [name, controller] : controllers_) controllers.push_back(controller);
  return controllers;
}

Endpoints::ControllerPtr Endpoints::find(const std::string& name) {
  for (ControllerPtr& controller : present()) {
    if (controller->record().name() == name) return controller;
  }
  throw Error(ErrorCode::kNotFound, fmt::format("there is no endpoint {}", name));
}

std::string Endpoints::create(const v1::CreateEndpointRequest& request) {
  v1::EndpointRecord record;
  record.set_name(request.endpoint_name());
  *record.mutable_settings() = with_defaults(request.settings());
  check(record.name(), record.settings());
  check_places(record.settings(), hosts_.hosts());
  const std::string address = request.address().empty() ? kLoopbackAddress : request.address();
  check_listener(address, record.settings().keys(), options_.tls);
  record.set_address(address);
  check_program(options_.haproxy, "install the Debian package haproxy");
  check_program(options_.server, "build musher-endpoint, or name it with --endpoint-server");
  record.set_status(v1::EndpointStatus::Creating);
  record.set_created_ms(wall_now().time_since_epoch().count());
  record.set_modified_ms(record.created_ms());
  record.set_revision(1);
  record.set_last_revision(1);
  record.set_desired(record.settings().min_capacity());
  present();  // forgets the one of this name that was deleted
  const Lock lock(mutex_);
  record.set_port(free_port(address, request.port()));
  store_.create(record);
  controllers_[record.name()] =
      std::make_shared<EndpointController>(options_, store_, hosts_, logger_, record);
  return endpoint_arn(record.name(), record.settings().region());
}

std::string Endpoints::update(const v1::UpdateEndpointRequest& request) {
  const ControllerPtr controller = find(request.endpoint_name());
  controller->update(request.settings());
  return endpoint_arn(request.endpoint_name(), controller->record().settings().region());
}

v1::DescribeEndpointResponse Endpoints::describe(const std::string& name) {
  const v1::EndpointRecord record = find(name)->record();
  v1::DescribeEndpointResponse response;
  response.set_endpoint_name(record.name());
  response.set_endpoint_arn(endpoint_arn(record.name(), record.settings().region()));
  response.set_endpoint_status(record.status());
  for (const std::string& reason :
       {record.failure_reason(), record.no_room(), record.trouble()}) {  // the last is the newest
    if (!reason.empty()) response.set_failure_reason(reason);
  }
  *response.mutable_creation_time() = TimeUtil::MillisecondsToTimestamp(record.created_ms());
  *response.mutable_last_modified_time() = TimeUtil::MillisecondsToTimestamp(record.modified_ms());
  describe_variant(record, *response.add_production_variants());
  response.set_url(url_of(record, options_.host));
  response.set_revision(record.revision());
  *response.mutable_settings() = record.settings();
  describe_instances(record, response);
  return response;
}

v1::ListEndpointsResponse Endpoints::list() {
  v1::ListEndpointsResponse response;
  for (const ControllerPtr& controller : present()) {
    const v1::EndpointRecord record = controller->record();
    v1::ProductionVariantSummary variant;
    describe_variant(record, variant);
    v1::EndpointSummary& summary = *response.add_endpoints();
    summary.set_endpoint_name(record.name());
    summary.set_endpoint_arn(endpoint_arn(record.name(), record.settings().region()));
    summary.set_endpoint_status(record.status());
    *summary.mutable_creation_time() = TimeUtil::MillisecondsToTimestamp(record.created_ms());
    *summary.mutable_last_modified_time() = TimeUtil::MillisecondsToTimestamp(record.modified_ms());
    summary.set_current_instance_count(variant.current_instance_count());
    summary.set_desired_instance_count(variant.desired_instance_count());
  }
  return response;
}

void Endpoints::remove(const std::string& name) {
  find(name)->remove();
}

v1::DescribeScalingActivitiesResponse Endpoints::activities(
    const v1::DescribeScalingActivitiesRequest& request) {
  find(request.endpoint_name());
  v1::DescribeScalingActivitiesResponse response;
  const int most = request.max_results() > 0 ? request.max_results() : kActivities;
  for (v1::ScalingActivity& activity : store_.activities(request.endpoint_name(), most))
    *response.add_activities() = std::move(activity);
  return response;
}

}  // namespace musher
