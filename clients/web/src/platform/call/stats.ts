/** What a browser's `getStats` says of one path, summed up. Counters only grow. */

export interface Counters {
    /** Everything that came, of media and of the path itself. */
    readonly received: number;
    /** How long ago the newest packet came, where the browser says it; else 0. */
    readonly agoMs: number;
    /** Frames of pictures and packets of sound that were decoded or played. */
    readonly heard: number;
    readonly packetsReceived: number;
    readonly packetsLost: number;
    /** By m-line. */
    readonly framesDecoded: ReadonlyMap<string, number>;
    /** What encoders made: frames of pictures, packets of sound. */
    readonly encodedVideo: number;
    readonly encodedAudio: number;
    readonly lossUp: number;
    readonly rttMs: number;
    readonly availableUpBps: number;
}

/** A packet said to be from longer ago, or from later than now, is by another clock. */
const MOST_AGO_MS = 60_000;

/** One entry, as far as it is read; browsers leave out what they do not have. */
interface Entry {
    readonly type: string;
    readonly timestamp?: number;
    readonly lastPacketReceivedTimestamp?: number;
    readonly kind?: string;
    readonly mid?: string;
    readonly state?: string;
    readonly nominated?: boolean;
    readonly bytesReceived?: number;
    readonly responsesReceived?: number;
    readonly packetsReceived?: number;
    readonly packetsLost?: number;
    readonly packetsSent?: number;
    readonly retransmittedPacketsSent?: number;
    readonly framesDecoded?: number;
    readonly framesEncoded?: number;
    readonly fractionLost?: number;
    readonly currentRoundTripTime?: number;
    readonly availableOutgoingBitrate?: number;
}

export function countersOf(report: { forEach(each: (entry: Entry) => void): void }): Counters {
    const sum = {
        received: 0,
        agoMs: Number.POSITIVE_INFINITY,
        heard: 0,
        packetsReceived: 0,
        packetsLost: 0,
        framesDecoded: new Map<string, number>(),
        encodedVideo: 0,
        encodedAudio: 0,
        lossUp: 0,
        rttMs: 0,
        availableUpBps: 0,
    };
    report.forEach((entry) => {
        const agoMs = (entry.timestamp ?? 0) - (entry.lastPacketReceivedTimestamp ?? 0);
        if (entry.lastPacketReceivedTimestamp !== undefined && agoMs >= 0 && agoMs < MOST_AGO_MS)
            sum.agoMs = Math.min(sum.agoMs, agoMs);
        switch (entry.type) {
            case 'inbound-rtp':
                sum.received += entry.bytesReceived ?? 0;
                sum.packetsReceived += entry.packetsReceived ?? 0;
                sum.packetsLost += entry.packetsLost ?? 0;
                if (entry.kind === 'video') {
                    const frames = entry.framesDecoded ?? 0;
                    sum.heard += frames;
                    if (entry.mid !== undefined) sum.framesDecoded.set(entry.mid, frames);
                } else sum.heard += entry.packetsReceived ?? 0;
                break;
            case 'outbound-rtp':
                if (entry.kind === 'video') sum.encodedVideo += entry.framesEncoded ?? 0;
                else
                    sum.encodedAudio += Math.max(
                        0,
                        (entry.packetsSent ?? 0) - (entry.retransmittedPacketsSent ?? 0),
                    );
                break;
            case 'remote-inbound-rtp':
                sum.lossUp = Math.max(sum.lossUp, entry.fractionLost ?? 0);
                break;
            case 'candidate-pair':
                if (entry.state !== 'succeeded' || entry.nominated !== true) break;
                sum.received += (entry.bytesReceived ?? 0) + (entry.responsesReceived ?? 0);
                sum.rttMs = Math.round((entry.currentRoundTripTime ?? 0) * 1000);
                sum.availableUpBps = entry.availableOutgoingBitrate ?? sum.availableUpBps;
                break;
        }
    });
    return { ...sum, agoMs: Number.isFinite(sum.agoMs) ? sum.agoMs : 0 };
}

/** The share of packets that were lost between two counts, 0 to 1. */
export function lossBetween(before: Counters, now: Counters): number {
    const lost = Math.max(0, now.packetsLost - before.packetsLost);
    const came = Math.max(0, now.packetsReceived - before.packetsReceived);
    return lost + came === 0 ? 0 : lost / (lost + came);
}
