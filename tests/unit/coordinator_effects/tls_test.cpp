// Who is let in to a coordinator that other machines can reach, and that every refusal is counted.

#include "rpc/tls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ranks_testing.h"
#include "rpc/certificates.h"

namespace musher {
namespace {

using std::chrono::hours;
using testing::HasSubstr;

class TlsTest : public RanksTest {
 protected:
  TlsTest() : RanksTest(1) {}

  void SetUp() override {
    RanksTest::SetUp();
    serve(issue(authority_, Role::kCoordinator, Validity::days(1)));
  }

  /// The same coordinator behind another server.
  void serve(const Identity& identity) {
    server_.reset();
    const auto folder = folder_.path() / "coordinator";
    write_tls_folder(folder, authority_.certificate, identity);
    server_ = std::make_unique<Server>(*coordinator_, "127.0.0.1:0", folder);
  }

  /// Joins as rank 0 with that certificate.
  void join(const Identity& identity, const std::string& token,
            Deadline deadline = Deadline::after(std::chrono::seconds(30))) {
    const auto folder = folder_.path() / "rank";
    write_tls_folder(folder, authority_.certificate, identity);
    CoordinatorClient(Endpoint{server_->address(), folder}.text(), {"j", 1, 0, 1, token})
        .join("h", deadline);
  }

  Error refused(const Identity& identity, const std::string& token) {
    try {
      join(identity, token);
    } catch (const Error& error) {
      return error;
    }
    ADD_FAILURE() << "it was let in";
    return {ErrorCode::kInternal, ""};
  }

  std::uint64_t count(Refusal refusal) { return coordinator_->refusals().of(refusal); }

  Identity authority_ = make_authority(Validity::days(10));
  Identity worker_ = issue(authority_, Role::kWorker, Validity::days(1));
};

TEST_F(TlsTest, ARankWithCertificateAndTokenJoins) {
  join(worker_, token_);
  for (std::size_t i = 0; i < kRefusals; ++i) EXPECT_EQ(count(static_cast<Refusal>(i)), 0);
}

TEST_F(TlsTest, AWrongOrMissingTokenIsRefusedAndCounted) {
  EXPECT_THAT(refused(worker_, "guess").what(), HasSubstr("the token is not the attempt's"));
  EXPECT_THAT(refused(worker_, "").what(), HasSubstr("the token is not the attempt's"));
  EXPECT_EQ(count(Refusal::kWrongToken), 2);
}

TEST_F(TlsTest, AnExpiredCertificateIsRefusedWithItsDateAndCounted) {
  const auto now = std::chrono::system_clock::now();
  const Identity old = issue(authority_, Role::kWorker, {now - hours(2), now - hours(1)});
  const Error error = refused(old, token_);
  EXPECT_EQ(error.code(), ErrorCode::kPermissionDenied);
  EXPECT_THAT(error.what(), HasSubstr("musher-worker expired at "));
  EXPECT_EQ(count(Refusal::kExpiredCertificate), 1);
}

TEST_F(TlsTest, AnotherAuthoritysCertificateIsRefusedAndCounted) {
  const Identity other = issue(make_authority(Validity::days(1)), Role::kWorker, Validity::days(1));
  const Error error = refused(other, token_);
  EXPECT_EQ(error.code(), ErrorCode::kPermissionDenied);
  EXPECT_THAT(error.what(), HasSubstr("not to be trusted"));
  EXPECT_EQ(count(Refusal::kUntrustedCertificate), 1);
}

TEST_F(TlsTest, AClientIsNoWorker) {
  const Error error = refused(issue(authority_, Role::kClient, Validity::days(1)), token_);
  EXPECT_EQ(error.code(), ErrorCode::kPermissionDenied);
  EXPECT_THAT(error.what(), HasSubstr("it is for musher-worker"));
  EXPECT_EQ(count(Refusal::kWrongRole), 1);
}

TEST_F(TlsTest, WithoutACertificateEveryServiceIsShut) {
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = authority_.certificate;
  grpc::ChannelArguments arguments;
  arguments.SetSslTargetNameOverride("musher-coordinator");
  const auto channel =
      grpc::CreateCustomChannel(server_->address(), grpc::SslCredentials(options), arguments);
  const auto status_of = [&](auto&& call) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    return call(context).error_code();
  };
  const auto workers = v1::Workers::NewStub(channel);
  EXPECT_EQ(status_of([&](grpc::ClientContext& context) {
              v1::JoinReply reply;
              return workers->Join(&context, {}, &reply);
            }),
            grpc::StatusCode::UNAUTHENTICATED);
  const auto jobs = v1::Jobs::NewStub(channel);
  EXPECT_EQ(status_of([&](grpc::ClientContext& context) {
              v1::QueueReply reply;
              return jobs->Queue(&context, {}, &reply);
            }),
            grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(count(Refusal::kNoCertificate), 2);
}

TEST_F(TlsTest, WithoutTlsNothingIsAnswered) {
  CoordinatorClient plain(server_->address(), {"j", 1, 0, 1, token_});
  EXPECT_THROW(plain.join("h", Deadline::after(std::chrono::milliseconds(500))), Error);
}

TEST_F(TlsTest, ARankGivesItsTokenToNoServerThatIsNotTheCoordinator) {
  const auto now = std::chrono::system_clock::now();
  const Identity other = make_authority(Validity::days(1));
  for (const Identity& server :
       {worker_, issue(other, Role::kCoordinator, Validity::days(1)),
        issue(authority_, Role::kCoordinator, {now - hours(2), now - hours(1)})}) {
    serve(server);
    try {
      join(worker_, token_, Deadline::after(std::chrono::milliseconds(500)));
      FAIL() << "it joined";
    } catch (const Error& error) {
      EXPECT_TRUE(retry_helps(error.code())) << error.what();
    }
  }
}

TEST(Tls, NoAddressButLoopbackGoesWithoutIt) {
  EXPECT_THROW(CoordinatorClient("192.0.2.1:7077", {"j", 1, 0, 1, "t"}), Error);
}

}  // namespace
}  // namespace musher
