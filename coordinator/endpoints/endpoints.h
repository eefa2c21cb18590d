#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "coordinator/endpoints/controller.h"
#include "coordinator/endpoints/endpoint_store.h"
#include "endpoints.pb.h"

namespace musher {

/// All endpoints of a coordinator, under SageMaker's verbs. Thread-safe; throws `Error`: kNotFound
/// for an endpoint that does not exist. REQUIRES: that the state folder is this process's.
class Endpoints {
 public:
  /// Takes up those of the store, running ones too. Needs no program to be there until an endpoint
  /// is created.
  Endpoints(EndpointsOptions options, Logger logger);

  std::string create(const v1::CreateEndpointRequest& request);  ///< its ARN
  std::string update(const v1::UpdateEndpointRequest& request);  ///< its ARN
  v1::DescribeEndpointResponse describe(const std::string& name);
  v1::ListEndpointsResponse list();
  void remove(const std::string& name);
  v1::DescribeScalingActivitiesResponse activities(
      const v1::DescribeScalingActivitiesRequest& request);

 private:
  using ControllerPtr = std::shared_ptr<EndpointController>;

  ControllerPtr find(const std::string& name);
  std::vector<ControllerPtr> present();

  const EndpointsOptions options_;
  const Logger logger_;
  EndpointStore store_;
  EndpointHosts hosts_;
  std::mutex mutex_;
  std::map<std::string, ControllerPtr> controllers_;
};

}  // namespace musher
