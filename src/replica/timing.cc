// SPDX-License-Identifier: Apache-2.0
#include "replica/timing.h"

namespace lockstep::replica {

std::optional<Error> Timing::invalid() const {
    if (heartbeat_ms == 0) return error("the time between heartbeats must be at least 1 ms");
    if (heartbeat_ms * 3 > failure_ms)
        return error(
            "the failure bound of {} ms must be at least three heartbeats of {} ms, or a lost datagram is "
            "taken "
            "for a failure",
            failure_ms, heartbeat_ms);
    if (lease_ms * 2 < heartbeat_ms * 3)
        return error(
            "the lease of {} ms must be at least one and a half heartbeats of {} ms, or outputs stall "
            "between them",
            lease_ms, heartbeat_ms);
    if (over_ms(lease_ms) > failure_ms)
        return error("lease, drift and margin ({} + {} + {} ms) must fit into the failure bound of {} ms",
                     lease_ms, drift_ms, margin_ms, failure_ms);
    if (drift_ms * 10 < lease_ms)
        return error("the drift of {} ms must be at least a tenth of the lease of {} ms", drift_ms, lease_ms);
    if (lag_most_ms <= lag_slow_ms)
        return error(
            "the lag at which the primary is slowed most ({} ms) must be above that at which it is slowed "
            "first "
            "({} ms)",
            lag_most_ms, lag_slow_ms);
    if (ack_ms < failure_ms)
        return error("the bound for acknowledgements of {} ms must not be below the failure bound of {} ms",
                     ack_ms, failure_ms);
    if (renew_ms * 3 > term_lease_ms)
        return error("the lease of a term of {} ms must be at least three renewals of {} ms", term_lease_ms,
                     renew_ms);
    if (watch_ms * 9 < term_lease_ms * 10 || watch_ms < renew_ms + 2 * look_ms)
        return error("a start must watch a term for a tenth longer ({} ms) than its lease of {} ms", watch_ms,
                     term_lease_ms);
    if (claim_retry_ms == 0 || ask_ms == 0 || progress_ms == 0 || hand_over_ms == 0 || synchronise_ms == 0)
        return error("a time between attempts must be at least 1 ms");
    return std::nullopt;
}

}  // namespace lockstep::replica
