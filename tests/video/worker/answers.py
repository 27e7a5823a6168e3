"""Answers to the bridge's offers, as a browser writes them."""

from collections.abc import Sequence

from leeside_protocol.video.formats import DOWN_MIDS, UP_AUDIO_MID, UP_VIDEO_MID

DIGEST = ":".join(f"{number:02X}" for number in range(32))


def answer(
    fingerprint: str = DIGEST,
    *,
    audio: int | None = 11,
    video: tuple[int, int] | None = (21, 22),
    rids: Sequence[str] = (),
    ufrag: str = "abcd",
    redundant: bool = True,
) -> str:
    """An answer that sends sound on SSRC `audio`, and pictures on `video` and its repairs, or as layers `rids`."""
    lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=msid-semantic: WMS *"]
    for mid in (UP_AUDIO_MID, UP_VIDEO_MID, *DOWN_MIDS):
        up = mid in (UP_AUDIO_MID, UP_VIDEO_MID)
        sound = mid == UP_AUDIO_MID or (not up and DOWN_MIDS.index(mid) % 2 == 0)
        kind, types = ("audio", "63 111" if redundant else "111") if sound else ("video", "96 97")
        lines += [
            f"m={kind} 9 UDP/TLS/RTP/SAVPF {types}",
            "c=IN IP4 0.0.0.0",
            "a=rtcp:9 IN IP4 0.0.0.0",
            f"a=ice-ufrag:{ufrag}",
            "a=ice-pwd:0123456789abcdefghijklmn",
            f"a=fingerprint:sha-256 {fingerprint}",
            "a=setup:active",
            f"a=mid:{mid}",
            "a=" + ("sendonly" if up else "recvonly"),
            "a=rtcp-mux",
        ]
        if mid == UP_AUDIO_MID:
            lines += [f"a=ssrc:{audio} cname:x"] if audio else []
        elif mid == UP_VIDEO_MID and rids:
            lines += [f"a=rid:{rid} send" for rid in rids] + [f"a=simulcast:send {';'.join(rids)}"]
        elif mid == UP_VIDEO_MID and video:
            lines += [f"a=ssrc-group:FID {video[0]} {video[1]}"]
            lines += [f"a=ssrc:{ssrc} cname:x" for ssrc in video]
    return "\r\n".join(lines) + "\r\n"
