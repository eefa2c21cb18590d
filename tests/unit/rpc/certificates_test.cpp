#include "rpc/certificates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"

namespace musher {
namespace {

using std::chrono::hours;
using testing::HasSubstr;

const auto kNow = std::chrono::system_clock::now();

TEST(Certificates, OfTheAuthorityAreTrustedAndNameTheirRole) {
  const Identity authority = make_authority(Validity::days(10));
  const CertificateJudge judge(authority.certificate);
  for (const Role role : {Role::kWorker, Role::kClient}) {
    const Identity one = issue(authority, role, Validity::days(1));
    for (int again = 0; again < 2; ++again) {
      const Finding finding = judge.judge(one.certificate, kNow);
      EXPECT_EQ(finding.flaw, Flaw::kNone) << finding.why;
      EXPECT_EQ(finding.name, common_name(role));
    }
  }
}

TEST(Certificates, OfAnotherAuthorityAreNotThoughTheirNamesAreTheSame) {
  const CertificateJudge judge(make_authority(Validity::days(10)).certificate);
  const Identity other =
      issue(make_authority(Validity::days(10)), Role::kWorker, Validity::days(1));
  EXPECT_EQ(judge.judge(other.certificate, kNow).flaw, Flaw::kUntrusted);
}

TEST(Certificates, ThatSignThemselvesAreNot) {
  const CertificateJudge judge(make_authority(Validity::days(10)).certificate);
  EXPECT_EQ(judge.judge(make_authority(Validity::days(10)).certificate, kNow).flaw,
            Flaw::kUntrusted);
}

TEST(Certificates, OfAWorkerCantSignOthers) {
  const Identity authority = make_authority(Validity::days(10));
  const Identity worker = issue(authority, Role::kWorker, Validity::days(5));
  const Identity forged = issue(worker, Role::kClient, Validity::days(1));
  const CertificateJudge judge(authority.certificate);
  EXPECT_EQ(judge.judge(forged.certificate, kNow).flaw, Flaw::kUntrusted);
  EXPECT_EQ(judge.judge(forged.certificate + worker.certificate, kNow).flaw, Flaw::kUntrusted);
}

TEST(Certificates, OfACoordinatorAreNoneForAClient) {
  const Identity authority = make_authority(Validity::days(10));
  const Identity coordinator = issue(authority, Role::kCoordinator, Validity::days(1));
  EXPECT_EQ(CertificateJudge(authority.certificate).judge(coordinator.certificate, kNow).flaw,
            Flaw::kUntrusted);
}

TEST(Certificates, OfAServerOpenNoDoorOfTheCoordinators) {
  const Identity authority = make_authority(Validity::days(10));
  const Identity server = issue_server(authority, Validity::days(1), {"one.example"});
  const Finding finding = CertificateJudge(authority.certificate).judge(server.certificate, kNow);
  EXPECT_EQ(finding.flaw, Flaw::kUntrusted);
  for (const Role role : {Role::kCoordinator, Role::kWorker, Role::kClient})
    EXPECT_NE(finding.name, common_name(role));
}

TEST(Certificates, AreRefusedBeforeTheirTimeAndAfterItEachTimeTheyAreShown) {
  const Identity authority = make_authority(Validity::days(10));
  const CertificateJudge judge(authority.certificate);
  const Identity one = issue(authority, Role::kWorker, {kNow - hours(1), kNow + hours(1)});
  EXPECT_EQ(judge.judge(one.certificate, kNow).flaw, Flaw::kNone);
  const Finding late = judge.judge(one.certificate, kNow + hours(2));
  EXPECT_EQ(late.flaw, Flaw::kExpired);
  EXPECT_THAT(late.why, HasSubstr("musher-worker expired at 20"));
  EXPECT_THAT(judge.judge(one.certificate, kNow - hours(2)).why, HasSubstr("is not good before"));
}

TEST(Certificates, AreGoodForNoLongerThanTheirAuthority) {
  const Identity authority = make_authority({kNow - hours(2), kNow + hours(1)});
  const Identity one = issue(authority, Role::kWorker, Validity::days(100));
  const CertificateJudge judge(authority.certificate);
  EXPECT_EQ(judge.judge(one.certificate, kNow).flaw, Flaw::kNone);
  EXPECT_EQ(judge.judge(one.certificate, kNow + hours(2)).flaw, Flaw::kExpired);
}

TEST(Certificates, ThatAreNoneAreNamedAsSuch) {
  const CertificateJudge judge(make_authority(Validity::days(10)).certificate);
  EXPECT_EQ(judge.judge("", kNow).flaw, Flaw::kMissing);
  EXPECT_EQ(judge.judge("-----BEGIN CERTIFICATE-----\n", kNow).flaw, Flaw::kUntrusted);
  EXPECT_THROW(CertificateJudge("no certificate"), Error);
}

TEST(Certificates, TakeNamesAndAddressesAndNothingElse) {
  const Identity authority = make_authority(Validity::days(10));
  EXPECT_NO_THROW(
      issue(authority, Role::kCoordinator, Validity::days(1), {"h1.example", "10.0.0.1", "::1"}));
  for (const char* name : {"", "h1,CA:TRUE", "h 1", "h1\n"}) {
    EXPECT_THROW(issue(authority, Role::kCoordinator, Validity::days(1), {name}), Error) << name;
  }
  const Identity other = make_authority(Validity::days(10));
  EXPECT_THROW(issue({authority.certificate, other.key}, Role::kWorker, Validity::days(1)), Error);
}

}  // namespace
}  // namespace musher
