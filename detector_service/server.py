"""The process: it listens, loads, serves, and goes down in good order."""

import asyncio
import ipaddress
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import grpc
import structlog
from aiohttp import web
from crowd.detector.v1 import detector_pb2, detector_pb2_grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from detector_service import engines
from detector_service.addresses import joined
from detector_service.admin_http import AdminHttp, Endpoint
from detector_service.builds.cache import BuildStopped
from detector_service.crowd.alerts import CrowdAlertLevels
from detector_service.detection import model_files
from detector_service.detection.detector import Detector
from detector_service.errors import ConfigurationError, ModelError
from detector_service.health.judgement import Limits, State
from detector_service.health.watch import HealthWatch
from detector_service.metrics import observe_health, observe_models, observe_stats, observe_workers
from detector_service.performance import difference
from detector_service.pipeline import FrameLimits, Pipeline
from detector_service.rpc.admin import AdminServicer
from detector_service.rpc.auth import TokenInterceptor, Tokens
from detector_service.rpc.call_timer import CallTimer
from detector_service.rpc.frame_handler import Answer, FrameHandler, Job
from detector_service.rpc.health import HealthServicer
from detector_service.rpc.servicer import DetectorServicer
from detector_service.rpc.status import not_ready, shutting_down
from detector_service.scheduling.workers import Workers
from detector_service.settings import Settings
from detector_service.stats import Stats
from detector_service.timings import Timings
from telemetry.event_loop import watch_lag
from telemetry.gpu import find_nvml, observe_gpus
from telemetry.instruments import NO_METER
from telemetry.metrics import PROMETHEUS_TEXT, Metrics
from telemetry.page import Page
from telemetry.performance import summarise

if TYPE_CHECKING:  # imported where frames are traced
    from detector_service.rpc.frame_trace import Traces

_log = structlog.get_logger()

_SERVICE: Final = detector_pb2.DESCRIPTOR.services_by_name["DetectorService"].full_name
_ADMIN: Final = detector_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name
_REFLECTED: Final = (_SERVICE, _ADMIN, health.SERVICE_NAME, reflection.SERVICE_NAME)
_WATCHERS_SECONDS: Final = 0.5  # for whoever watches health to read that it is over


class DetectorServer:
    """The service from its first open port to its last answer.

    Used in this order: `listen`, `load`, any number of `reload`, `drain`. Between the first two it answers health checks with
    NOT_SERVING and everything else with UNAVAILABLE.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics | None = None,
        traces: "Traces | None" = None,
    ) -> None:
        """Make it.

        Args:
            settings: as read.
            metrics: exports what this service counts; None exports nothing. Whoever made them closes them.
            traces: makes the spans of frames; None: nothing is traced.
        """
        self._settings: Final = settings
        self._meter: Final = NO_METER if metrics is None else metrics.meter
        self.stats: Final = Stats(Timings(self._meter))
        observe_stats(self._meter, self.stats)
        self._told = self.stats.snapshot(queued=0)  # of which the log has the differences
        self._servicer: Final = DetectorServicer(settings, self.stats, traces)
        self._health: Final = HealthServicer(("", _SERVICE, _ADMIN))
        self._watch: Final = HealthWatch(
            Limits(settings.health_interval, settings.watchdog_timeout),
            lambda state: self._health.tell(serving=state is State.READY),
        )
        observe_health(self._meter, lambda: self._watch.state is State.READY)
        endpoints: dict[str, Endpoint] = {"/health/live": _live, "/health/ready": self._ready}
        if metrics is not None:
            endpoints["/metrics"] = _page(metrics)
        self._admin_http: Final = AdminHttp(endpoints)
        #: The admin port's number, once it is open; None where there is none.
        self.admin_port: int | None = None
        self._server: grpc.aio.Server | None = None
        self._detector: Detector | None = None
        self._workers: Workers[Job, Answer] | None = None
        self._watches: list[asyncio.Task[None]] = []
        self._watching: asyncio.Task[None] | None = None
        self._going_down: Final = threading.Event()
        self._reloading: Final = asyncio.Lock()
        self._reloads: Final[set[asyncio.Task[Detector]]] = set()

    @property
    def stuck(self) -> asyncio.Event:
        """Is set once a worker is stuck, or all frames fail for long: the process can only end then."""
        return self._watch.stuck

    async def listen(self) -> int:
        """Open the port, and that for HTTP; return the first one's number.

        Raises:
            ConfigurationError: an address cannot be used, or the tokens cannot be read.
        """
        settings = self._settings
        if (
            settings.auth_tokens_file is None
            and settings.tls_client_ca_file is None
            and not _loopback(settings.host)
        ):
            _log.warning(
                "auth.open",
                message=f"anyone who reaches {settings.host} may call; set AUTH_TOKENS_FILE to ask for tokens",
            )
        self._server = grpc.aio.server(
            interceptors=[CallTimer(self._meter), _doorkeeper(settings, self.stats)],
            options=_channel_options(settings),
        )
        detector_pb2_grpc.add_DetectorServiceServicer_to_server(self._servicer, self._server)
        admin = AdminServicer(self._reload_for_caller, self.stats)
        detector_pb2_grpc.add_AdminServiceServicer_to_server(admin, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(_REFLECTED, self._server)
        port = self._bind(self._server)
        if settings.admin_port != "off":
            self.admin_port = await self._admin_http.listen(settings.host, settings.admin_port)
        await self._server.start()
        self._watches = [
            asyncio.create_task(watch_lag(self.stats.lagged)),
            asyncio.create_task(summarise("service.performance", self._figures)),
        ]
        self._watching = asyncio.create_task(self._watch.run())
        return port

    async def load(self) -> None:
        """Load and warm the models, look at a first picture, then serve.

        Raises:
            ModelError: a model cannot serve; the text names the variable, the file and the cure. Or the picture had
                no result.
        """
        settings = self._settings
        count = settings.workers or engines.default_workers()
        self._detector = detector = await self._load_models(count)
        if not settings.workers and detector.on_gpu:
            count = engines.default_workers(settings.engine_batch)
        self._workers = Workers(
            await asyncio.to_thread(self._handlers, detector, count),
            max_bytes=settings.max_buffered_bytes,
            saw=self._watch.saw,
        )
        await self._watch.prove(self._workers)
        self._servicer.serve(detector, self._workers)
        self._observe(self._workers)
        self._watch.begin()

    async def reload(self) -> Detector:
        """Load the models anew beside those that serve, and let them take over between two frames.

        Returns:
            The models that serve now. One reload waits for another.

        Raises:
            ModelError: they cannot serve, and those from before do; the log says so too.
            BuildStopped: the service goes down.
        """
        async with self._reloading:
            assert self._workers is not None, "`load` comes first"
            _log.info("models.reloading")
            try:
                detector = await self._load_models(self._workers.count)
                try:
                    handlers = await asyncio.to_thread(
                        self._handlers, detector, self._workers.count
                    )
                except BaseException:
                    await asyncio.to_thread(detector.close)
                    raise
            except BuildStopped:
                raise
            except Exception as error:
                foreseen = isinstance(error, ModelError)
                cause = str(error) if foreseen else f"{type(error).__name__}: {error}"
                message = f"{cause}; the models that were loaded before serve on"
                _log.error("models.reload_failed", message=message, exc_info=not foreseen)
                raise ModelError(message) from error
            old, self._detector = self._serving(), detector
            counted = old.batches()
            self.stats.batches.update(counted)  # now, for what is counted must never be less
            self._servicer.serve(detector, self._workers)
            await self._workers.change(handlers)
            self.stats.batches.update(old.batches() - counted)
            await asyncio.to_thread(old.close)
            _log.info("models.reloaded")
            return detector

    async def _reload_for_caller(self) -> Detector:
        """Reload; where the caller leaves meanwhile, that goes on, as nothing else would close what it loads."""
        if self._going_down.is_set():
            raise shutting_down()
        if self._workers is None:
            raise not_ready()
        reload = asyncio.create_task(self.reload())
        self._reloads.add(reload)
        reload.add_done_callback(self._forget)
        try:
            return await asyncio.shield(reload)
        except (BuildStopped, asyncio.CancelledError):
            if not reload.done():  # it is the caller that left
                raise
            raise shutting_down() from None

    def _forget(self, reload: "asyncio.Task[Detector]") -> None:
        self._reloads.discard(reload)
        if not reload.cancelled():
            reload.exception()  # the log has it, and perhaps a caller

    def _handlers(self, detector: Detector, count: int) -> list[FrameHandler]:
        settings = self._settings
        limits = FrameLimits(settings.max_frame_bytes, settings.max_image_pixels)
        levels = CrowdAlertLevels.parse(settings.crowd_alert_levels)
        return [
            FrameHandler(
                Pipeline(detector, limits, reduced_decoding=settings.decode_scale == "reduced"),
                levels,
                debug=settings.debug,
            )
            for _ in range(count)
        ]

    async def _load_models(self, workers: int) -> Detector:
        settings = self._settings
        files = model_files.choose(settings.face_model, settings.body_model, engines.loadable())
        detector = await asyncio.to_thread(
            Detector.load,
            files,
            engine=settings.engine,
            precision=settings.precision,
            parallel=workers,
            max_input=settings.max_frame_size,
            threads=settings.engine_threads,
            gpu=settings.gpu,
            allow_unsafe=settings.allow_unsafe_models,
            stop=self._going_down,
        )
        for model in detector.models:
            _log.info(
                "model.loaded",
                path=str(model.file.path),
                roles=sorted(model.file.roles),
                engine=model.engine.name,
                device=model.engine.device,
                precision=model.engine.precision,
                input_size=model.longest,
                seconds=round(model.warm_up_seconds, 3),
            )
        return detector

    async def drain(self, patience: float | None = None) -> None:
        """Go down in good order; may be called twice.

        1. Health says NOT_SERVING, so that nobody new is sent here.
        2. New calls are refused; streams answer what they have accepted, then end.
        3. The port is closed, once all of these have ended or DRAIN_TIMEOUT has passed; who watches
           health is cut off.
        4. The workers end, and the models are let go; not where a worker is stuck, which would be waited for in vain.
        5. The admin port is closed.

        Args:
            patience: seconds in place of DRAIN_TIMEOUT.
        """
        self._going_down.set()
        self._watch.stop()
        for reload in self._reloads:
            reload.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(
                self._settings.drain_timeout if patience is None else patience
            ):
                await self._servicer.drain()
        if self._server is not None:
            # Not at once: with no time to spare gRPC tells even idle clients of an internal error.
            await self._server.stop(_WATCHERS_SECONDS)
        if self._reloads:
            await asyncio.wait(self._reloads)
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        if self._workers is not None and not self.stuck.is_set():
            await self._workers.close()
        if self._detector is not None and not self.stuck.is_set():
            await asyncio.to_thread(self._detector.close)
        if self._watching is not None:
            self._watching.cancel()  # not sooner: a stuck worker would never have ended
        await self._admin_http.close()

    def _bind(self, server: grpc.aio.Server) -> int:
        host, settings = self._settings.host, self._settings
        address = joined(host, settings.grpc_port)
        try:
            if settings.tls_cert_file is None or settings.tls_key_file is None:
                return server.add_insecure_port(address)
            client_ca = settings.tls_client_ca_file
            credentials = grpc.ssl_server_credentials(
                [(settings.tls_key_file.read_bytes(), settings.tls_cert_file.read_bytes())],
                root_certificates=client_ca.read_bytes() if client_ca else None,
                require_client_auth=client_ca is not None,
            )
            return server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise ConfigurationError(
                f"HOST={host}, GRPC_PORT={settings.grpc_port}: cannot listen there; is the port in use, or the "
                "address not this machine's? Choose another, or end what uses it"
            ) from error

    def _observe(self, workers: Workers[Job, Answer]) -> None:
        """Export what there is to tell once the models serve."""
        observe_workers(self._meter, workers)
        observe_models(self._meter, self.stats, self._serving)
        nvml = find_nvml() if self._settings.use_gpu and self._meter is not NO_METER else None
        if nvml is not None:
            observe_gpus(self._meter, nvml)

    def _serving(self) -> Detector:
        assert self._detector is not None
        return self._detector

    def _figures(self) -> dict[str, Any] | None:
        queued = self._workers.waiting if self._workers is not None else 0
        before, self._told = self._told, self.stats.snapshot(queued=queued)
        figures = difference(before, self._told, self.stats.recent)
        self.stats.recent.clear()
        return figures

    async def _ready(self, _: web.BaseRequest) -> web.Response:
        """Say whether frames get results, and what is known of that."""
        known = self._watch.report()
        if self._detector is not None:
            known["models"] = [
                {
                    "roles": sorted(model.file.roles),
                    "engine": model.engine.name,
                    "device": model.engine.device,
                    "precision": model.engine.precision,
                }
                for model in self._detector.models
            ]
        return web.json_response(known, status=200 if known["status"] is State.READY else 503)


async def _live(_: web.BaseRequest) -> web.Response:
    """Say that the event loop turns."""
    return web.json_response({"status": "alive"})


def _page(metrics: Metrics) -> Endpoint:
    page = Page(partial(asyncio.to_thread, metrics.page))

    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(body=await page.text(), headers={"Content-Type": PROMETHEUS_TEXT})

    return answer


def _doorkeeper(settings: Settings, stats: Stats) -> TokenInterceptor:
    users, admins = (
        None if path is None else Tokens.read(variable, path)
        for variable, path in (
            ("AUTH_TOKENS_FILE", settings.auth_tokens_file),
            ("ADMIN_TOKENS_FILE", settings.admin_tokens_file),
        )
    )
    return TokenInterceptor(users, admins, stats)


def _channel_options(settings: Settings) -> list[tuple[str, int]]:
    return [
        # Without this a second process would share the port in silence.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        # A client that vanished without a word is found by pings that it does not answer.
        ("grpc.keepalive_time_ms", round(settings.keepalive_time * 1000)),
        ("grpc.keepalive_timeout_ms", round(settings.keepalive_timeout * 1000)),
        ("grpc.http2.ping_timeout_ms", round(settings.keepalive_timeout * 1000)),
        ("grpc.http2.max_pings_without_data", 0),
        # Clients may ping every 10 s, with or without a call; more often gets them a GOAWAY.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
