// musher endpoint

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <thread>

#include <fmt/format.h>
#include <google/protobuf/util/time_util.h>

#include "coordinator/cli/command.h"
#include "coordinator/cli/connection.h"
#include "coordinator/cli/endpoint_options.h"
#include "endpoints.grpc.pb.h"
#include "job/request.h"
#include "serving/client/endpoint_client.h"

namespace musher::cli {

namespace {

using Stub = v1::Endpoints::Stub;

constexpr auto kPause = std::chrono::milliseconds(200);
constexpr auto kInvokeTime = std::chrono::seconds(90);
constexpr int kActivitiesOfStatus = 5;
constexpr std::uint64_t kLongestAnswer = 64 << 20;

struct Given {
  std::string verb, name, file;
  int port = 0;
  std::string address;
  std::string tls;  // the client's folder; empty: none
  bool json = false, wait = false;
  int most = 50;
  std::string content_type, accept;
  EndpointChoices choices;
};

std::string time_text(google::protobuf::Timestamp time) {
  time.set_nanos(0);
  return google::protobuf::util::TimeUtil::ToString(time);
}

v1::DescribeEndpointResponse describe(Connection& client, const std::string& name) {
  v1::DescribeEndpointRequest request;
  request.set_endpoint_name(name);
  return client.call(&Stub::DescribeEndpoint, request);
}

v1::DescribeScalingActivitiesResponse activities_of(Connection& client, const std::string& name,
                                                    int most) {
  v1::DescribeScalingActivitiesRequest request;
  request.set_endpoint_name(name);
  request.set_max_results(most);
  return client.call(&Stub::DescribeScalingActivities, request);
}

/// `list_name`: there, empty, where the message has none.
void print_json(const google::protobuf::Message& message, const char* list_name) {
  auto text = to_json(message);
  if (!text.contains(list_name)) text[list_name] = nlohmann::ordered_json::array();
  std::cout << text.dump(2) << "\n";
}

void print_activities(const v1::DescribeScalingActivitiesResponse& response) {
  for (const v1::ScalingActivity& activity : response.activities()) {
    std::string what = activity.description();
    if (!activity.not_scaled().empty()) what = "Not scaled, " + activity.not_scaled() + ".";
    if (activity.status_code() == "Failed") what.insert(0, "Failed: ");
    std::cout << fmt::format("{}  {} {}\n", time_text(activity.start_time()), what,
                             activity.cause());
  }
}

/// Until it is settled; whether all is well. Says what is not.
bool wait_settled(Connection& client, const std::string& name) {
  using Status = v1::EndpointStatus;
  while (true) {
    const auto endpoint = describe(client, name);
    const auto status = endpoint.endpoint_status();
    if (status == Status::InService && endpoint.failure_reason().empty()) return true;
    if (status != Status::Creating && status != Status::Updating) {
      std::cerr << fmt::format("musher: endpoint {} is {}: {}\n", name, Status::Value_Name(status),
                               endpoint.failure_reason());
      return false;
    }
    std::this_thread::sleep_for(kPause);
  }
}

int create(Connection& client, const Given& given) {
  v1::CreateEndpointRequest request;
  request.set_endpoint_name(given.name);
  *request.mutable_settings() = given.choices.settings();
  request.set_port(given.port);
  request.set_address(given.address);
  std::cout << client.call(&Stub::CreateEndpoint, request).endpoint_arn() << "\n" << std::flush;
  return !given.wait || wait_settled(client, given.name) ? kOk : kFailed;
}

int update(Connection& client, const Given& given) {
  v1::UpdateEndpointRequest request;
  request.set_endpoint_name(given.name);
  *request.mutable_settings() = given.choices.settings();
  std::cout << client.call(&Stub::UpdateEndpoint, request).endpoint_arn() << "\n" << std::flush;
  return !given.wait || wait_settled(client, given.name) ? kOk : kFailed;
}

int remove(Connection& client, const Given& given) {
  v1::DeleteEndpointRequest request;
  request.set_endpoint_name(given.name);
  client.call(&Stub::DeleteEndpoint, request);
  while (given.wait) {
    try {
      describe(client, given.name);
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kNotFound) break;
      throw;
    }
    std::this_thread::sleep_for(kPause);
  }
  return kOk;
}

int list(Connection& client, const Given& given) {
  const auto all = client.call(&Stub::ListEndpoints, v1::ListEndpointsRequest());
  if (given.json) {
    print_json(all, "Endpoints");
    return kOk;
  }
  std::size_t width = 4;
  for (const auto& endpoint : all.endpoints())
    width = std::max(width, endpoint.endpoint_name().size());
  std::cout << fmt::format("{:<{}}  {:<9}  {:<9}  {}\n", "NAME", width, "STATUS", "INSTANCES",
                           "CREATED");
  for (const auto& endpoint : all.endpoints()) {
    const std::string instances = fmt::format("{} of {}", endpoint.current_instance_count(),
                                              endpoint.desired_instance_count());
    std::cout << fmt::format("{:<{}}  {:<9}  {:<9}  {}\n", endpoint.endpoint_name(), width,
                             v1::EndpointStatus::Value_Name(endpoint.endpoint_status()), instances,
                             time_text(endpoint.creation_time()));
  }
  return kOk;
}

int status(Connection& client, const Given& given) {
  const auto endpoint = describe(client, given.name);
  if (given.json) {
    print_json(endpoint, "Instances");
    return kOk;
  }
  const auto& variant = endpoint.production_variants(0);
  std::cout << fmt::format("{}  {}\n", endpoint.endpoint_name(),
                           v1::EndpointStatus::Value_Name(endpoint.endpoint_status()));
  if (!endpoint.failure_reason().empty())
    std::cout << fmt::format("  failure    {}\n", endpoint.failure_reason());
  const v1::EndpointSettings& settings = endpoint.settings();
  std::cout << fmt::format("  url        {}\n  model      {}\n", endpoint.url(), settings.model());
  std::cout << fmt::format("  instances  {} of {}, {} to {}, target {:g} in {:g} s\n",
                           variant.current_instance_count(), variant.desired_instance_count(),
                           settings.min_capacity(), settings.max_capacity(), settings.target(),
                           settings.period_seconds());
  for (const auto& instance : endpoint.instances()) {
    const std::string process =
        instance.pid() == 0 ? "" : fmt::format("  process {}", instance.pid());
    std::cout << fmt::format(
        "  {:<9}  {:<9}  revision {}  on {}{}  since {}\n", instance.instance_id(),
        v1::EndpointInstance::State_Name(instance.state()), instance.revision(), instance.host(),
        process, time_text(instance.since()));
  }
  const auto activities = activities_of(client, given.name, kActivitiesOfStatus);
  if (activities.activities_size() > 0) std::cout << "\n";
  print_activities(activities);
  return kOk;
}

int activities(Connection& client, const Given& given) {
  const auto found = activities_of(client, given.name, given.most);
  if (given.json) {
    print_json(found, "ScalingActivities");
  } else {
    print_activities(found);
  }
  return kOk;
}

std::string read_input(const std::string& path) {
  std::ifstream file;
  if (path != "-") file.open(path, std::ios::binary);
  std::istream& in = path == "-" ? std::cin : file;
  std::string bytes{std::istreambuf_iterator<char>(in), {}};
  if (path != "-" && !file.is_open()) throw Error(ErrorCode::kNotFound, path + " can't be read");
  return bytes;
}

std::string type_of(const std::string& file) {
  if (file.ends_with(".png")) return "image/png";
  if (file.ends_with(".webp")) return "image/webp";
  if (file.ends_with(".json")) return "application/json";
  if (file.ends_with(".npy")) return "application/x-npy";
  return "image/jpeg";
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') {
    throw Error(ErrorCode::kInvalidArgument,
                std::string(name) + " is not set: the endpoint takes signed requests alone");
  }
  return value;
}

int invoke(Connection& client, const Given& given) {
  const auto endpoint = describe(client, given.name);
  EndpointClientOptions options;
  options.url = endpoint.url();
  options.region = endpoint.settings().region();
  options.response_limit = kLongestAnswer;
  if (!given.tls.empty()) options.ca_bundle = given.tls + "/ca.pem";
  if (!endpoint.settings().keys().empty())
    options.key = {variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")};
  EndpointCall call;
  call.endpoint = given.name;
  call.content_type = given.content_type.empty() ? type_of(given.file) : given.content_type;
  call.accept = given.accept;
  call.body = read_input(given.file);
  const EndpointAnswer answer =
      EndpointClient(std::move(options)).invoke(call, Deadline::after(kInvokeTime));
  if (answer.status == 200) {
    std::cout << answer.body;
    if (given.accept != "application/x-npy") std::cout << "\n";
    return kOk;
  }
  std::cerr << fmt::format("musher: endpoint {} answers {} {}: {}\n", given.name, answer.status,
                           answer.error_code, answer.error_message);
  return kFailed;
}

int run(const Command& command, const std::vector<std::string>& words) {
  CoordinatorAddress address;
  Given given;
  given.accept = "application/json";
  Options options(command);
  options.positional("VERB", &given.verb);
  options.optional_positional("NAME", &given.name);
  options.optional_positional("FILE", &given.file);
  given.choices.add_to(options);
  options.add("port", &given.port, "N", "of create: where it listens (a free one)");
  options.add(
      "address", &given.address, "IP",
      "of create: the address of the coordinator's machine where it listens, 0.0.0.0 for all; "
      "other than loopback it needs --keys, and a coordinator with --tls (127.0.0.1)");
  options.add("wait", &given.wait,
              "of create, update, delete: until it is done; exit code 1 where it went wrong");
  options.add("content-type", &given.content_type, "TYPE", "of invoke (by FILE's name)");
  options.add("accept", &given.accept, "TYPE", "of invoke (application/json)");
  options.add("max-results", &given.most, "N", "of activities (50)");
  options.add("json", &given.json,
              "of list, status, activities: all of it, with SageMaker's names");
  options.add_coordinator(&address);
  if (!options.parse(words)) return kOk;
  using Verb = int (*)(Connection&, const Given&);
  const std::vector<std::pair<std::string, Verb>> verbs = {
      {"create", create}, {"update", update},         {"list", list},    {"status", status},
      {"delete", remove}, {"activities", activities}, {"invoke", invoke}};
  for (const auto& [verb, act] : verbs) {
    if (verb != given.verb) continue;
    const char* missing = verb != "list" && given.name.empty()     ? "NAME"
                          : verb == "invoke" && given.file.empty() ? "FILE"
                                                                   : nullptr;
    if (missing != nullptr) {
      throw Error(ErrorCode::kInvalidArgument,
                  std::string(missing) + " is missing; see musher endpoint --help");
    }
    given.tls = address.tls;
    Connection client(address);
    return act(client, given);
  }
  throw Error(
      ErrorCode::kInvalidArgument,
      "musher endpoint has create, update, list, status, activities, invoke and delete, not \"" +
          given.verb + "\"");
}

}  // namespace

const Command kEndpoint = {
    "endpoint", "create|update|status|activities|delete NAME | invoke NAME FILE | list",
    "Serve models: as many instances of musher-endpoint as the load asks for, behind HAProxy. "
    "`create NAME --model URI` starts one, `update NAME --model URI` replaces its model without a "
    "request that fails.",
    run};

}  // namespace musher::cli
